"""Rows with a callback, which no thread waits for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection

from events.models import WebhookRequest
from events.receiver import group_commit, pending_write
from events.receiver.group_commit import Writer
from events.receiver.pending_write import NotStored, RefusedByDatabase
from subscriptions.models import Subscription
from tests.harness.receiving import hang_inserts, make_row, stored_ids, wait_until
from tests.harness.spooling import spooled_ids

pytestmark = pytest.mark.django_db(transaction=True)


class RecordedCallback:
    """A callback that records its arguments."""

    def __init__(self) -> None:
        self.errors: list[NotStored | None] = []

    def __call__(self, error: NotStored | None) -> None:
        self.errors.append(error)

    def wait(self) -> NotStored | None:
        wait_until(lambda: bool(self.errors))
        return self.errors[0]


def test_callback_is_called_after_the_commit(hook: Subscription, own_writer: Writer) -> None:
    row, callback = make_row(hook), RecordedCallback()
    counts: list[int] = []

    def count_and_record(error: NotStored | None) -> None:
        with connection.cursor() as cursor:  # on the commit thread's connection
            cursor.execute("SELECT count(*) FROM events_webhookrequest")
            counts.append(cursor.fetchone()[0])
        connection.close()
        callback(error)

    assert own_writer.store(row, count_and_record) is False
    assert callback.wait() is None
    assert counts == [1]
    assert stored_ids() == {row.uid}
    assert callback.errors == [None]


def test_callback_gets_the_error_of_a_refused_row(hook: Subscription, own_writer: Writer) -> None:
    bad = make_row(hook, size=-1 if connection.vendor == "postgresql" else 2**70)
    refused, accepted = RecordedCallback(), RecordedCallback()
    own_writer.store(bad, refused)
    own_writer.store(make_row(hook), accepted)
    assert isinstance(refused.wait(), RefusedByDatabase)
    assert accepted.wait() is None


def test_failing_callback_does_not_affect_others(
    hook: Subscription, own_writer: Writer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_writer, "_start_threads", lambda: None)
    callback = RecordedCallback()
    own_writer.store(make_row(hook), lambda error: 1 / 0)  # type: ignore[arg-type]
    own_writer.store(make_row(hook), callback)
    monkeypatch.undo()
    own_writer._start_threads()
    assert callback.wait() is None
    assert "A request could not be answered" in caplog.text


def test_threads_wait_when_the_queue_exceeds_a_batch(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 2)
    monkeypatch.setattr(own_writer, "_start_threads", lambda: None)
    callbacks = [RecordedCallback(), RecordedCallback()]
    for callback in callbacks:
        assert own_writer.store(make_row(hook), callback) is False
    monkeypatch.undo()
    unused = RecordedCallback()
    waited: list[bool] = []
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 2)
    thread = threading.Thread(target=lambda: waited.append(own_writer.store(make_row(hook), unused)))
    thread.start()
    thread.join(30)
    assert waited == [True]
    assert unused.errors == []
    assert [callback.wait() for callback in callbacks] == [None, None]
    assert WebhookRequest.objects.count() == 3


@pytest.mark.parametrize("spool_works", [True, False])
def test_rows_with_callbacks_are_given_up_when_the_database_hangs(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch, spool_folder: Path, spool_works: bool
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 0.2)
    end_hanging = hang_inserts(monkeypatch)
    if not spool_works:
        spool_folder.write_text("a file where the folder should be")
    rows, callbacks = [make_row(hook) for _ in range(3)], [RecordedCallback() for _ in range(3)]
    for row, callback in zip(rows, callbacks, strict=True):
        assert own_writer.store(row, callback) is False
    errors = [callback.wait() for callback in callbacks]
    end_hanging.set()
    if spool_works:
        assert errors == [None] * 3
        assert sorted(spooled_ids()) == sorted(row.uid for row in rows)
    else:
        assert [str(error).startswith("The spool cannot be written") for error in errors] == [True] * 3
    wait_until(lambda: not own_writer._is_hanging() and not own_writer._waiting)
    own_writer.store(make_row(hook))
    assert all(len(callback.errors) == 1 for callback in callbacks)
