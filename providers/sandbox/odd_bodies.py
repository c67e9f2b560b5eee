"""Odd bodies of webhooks, which a simulator sends on request. Independent of Django."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from providers.sandbox.tenant import BodyEncoding, Event, OddEvent

_DEEP: list[object] = json.loads("[" * 300 + "]" * 300)
_NOTES: Mapping[OddEvent, object] = {
    "half_character": "cut \ud83d",
    "not_a_number": math.nan,
    "huge_number": 10**400,
    "deep": _DEEP,
}
_ENCODERS: Mapping[BodyEncoding, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    "byte-order-mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "two-byte-order-marks": lambda text: codecs.BOM_UTF8 * 2 + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
}
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def with_odd_first_event(events: Sequence[Event], kind: OddEvent) -> Sequence[Event]:
    """Return the events of one call; the first one gets a field `note` with an odd value."""
    if kind == "none":
        return events
    first, *others = events
    return [replace(first, body={**first.body, "note": _NOTES[kind]}), *others]


def encode_text(text: str, encoding: BodyEncoding) -> bytes:
    """Return the text in an encoding. Half of a surrogate pair is escaped, as JSON has it."""
    return _ENCODERS[encoding](_HALF_CHARACTER.sub(lambda half: f"\\u{ord(half[0]):04x}", text))
