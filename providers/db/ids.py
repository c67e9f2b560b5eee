"""Public identifiers of rows."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7, which is ordered by time and may be public."""
    return uuid7()
