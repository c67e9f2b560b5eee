"""Replacements for storing a request's row, used as floors."""

from __future__ import annotations

import django.db

from events.storage.request_row import REQUESTS, RequestRow
from providers.contract.parsing import InboundRequest
from providers.contract.registry import get_provider

EGNYTE = get_provider("egnyte-connect")


def only_parse(row: RequestRow, on_stored: object = None) -> bool:
    """Parse the events, and store nothing."""
    EGNYTE.parse(
        InboundRequest(
            method=row.method, url="", query=row.query, headers=(), body=row.body, received_at=row.received_at
        )
    )
    return True


def insert_alone(row: RequestRow, on_stored: object = None) -> bool:
    """Insert and commit one row on the thread's own connection."""
    REQUESTS.insert(django.db.connection, [row])
    return True
