"""Read fields of inbound events, whose values may have any type and content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from providers.contract.sanitize import sanitize_text

# Maximum length in characters of the normalized fields of an event.
MAX_TYPE = 100
MAX_EVENT_ID = 255
MAX_ACTOR = 255
MAX_RESOURCE = 2000
MAX_RESOURCE_TYPE = 50

MAX_TIME = 64  # characters of a time; no form of ISO 8601 needs as many
# Unix times from here on are in a smaller unit: milliseconds, microseconds or nanoseconds. In seconds, this is the year
# 5138; in milliseconds, 1973.
MAX_SECONDS = 100_000_000_000

_UNIX_TIME = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)


def clean_text(value: object, *, limit: int) -> str | None:
    """Return a non-empty string, stripped, cut to `limit` characters and sanitized; None for anything else."""
    if not isinstance(value, str):
        return None
    return sanitize_text(value.strip()[:limit]) or None


def read_id(value: object) -> str | None:
    """Return an ID exactly as it was sent, a number as its digits; None if the value cannot be an ID."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def first_text(fields: Mapping[str, object], keys: Sequence[str], *, limit: int) -> str | None:
    """Return the first of these fields that holds a text or a number, as `clean_text` does."""
    texts = (clean_text(read_id(fields.get(key)), limit=limit) for key in keys)
    return next((text for text in texts if text), None)


def parse_time(value: object) -> datetime | None:
    """Return a time in any form that `parse_unix_time` or `parse_iso_time` reads; None for anything else.

    An event without a readable time has an empty time. It is never unreadable because of it.
    """
    return parse_unix_time(value) or parse_iso_time(value)


def parse_iso_time(value: object) -> datetime | None:
    """Return an ISO 8601 time in UTC; None for anything else.

    The offset may be ` UTC`; a time without an offset is taken as UTC.
    """
    if not isinstance(value, str) or len(value) > MAX_TIME:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_unix_time(value: object) -> datetime | None:
    """Return a positive Unix time in any unit of `time_from_number`, sent as a number or as digits; None otherwise."""
    if isinstance(value, str) and _UNIX_TIME.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return time_from_number(value)


def time_from_number(value: float) -> datetime | None:
    """Return a Unix time in seconds, milliseconds, microseconds or nanoseconds; None if it is out of range.

    The units are distinguished by size.
    """
    try:
        seconds = value
        for _ in range(3):
            if abs(seconds) >= MAX_SECONDS:
                seconds /= 1000
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
