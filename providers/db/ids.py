"""Identifiers that the world sees."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A fresh UUIDv7: unguessable enough to be public, and ordered by time."""
    return uuid7()
