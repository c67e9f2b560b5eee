"""Receiving as the web process does it: the writer and what it knows in threads of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from events.known import known_subscriptions
from events.writer import writer


@pytest.fixture
def in_threads(transactional_db: None, settings: Settings) -> Iterator[None]:
    """The receiver's threads run, and have given their connections back before the database is emptied."""
    settings.RECEIVE_IN_THREADS = True
    yield
    writer.stop()
    known_subscriptions.stop()
    writer.reset()
    known_subscriptions.reset()
