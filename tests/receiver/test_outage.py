"""Rows are spooled while the database hangs or is unavailable."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import UUID

import pytest

from events.models import WebhookRequest
from events.receiver import group_commit, pending_write
from events.receiver.group_commit import Writer
from events.receiver.pending_write import NotStored
from events.receiver.spool.file import spool
from events.receiver.spool_drain import Drainer
from subscriptions.models import Subscription
from tests.harness.receiving import DatabaseOutage, hang_inserts, make_row, stored_ids, stored_ids_in_order, wait_until
from tests.harness.spooling import spooled_ids

pytestmark = pytest.mark.django_db(transaction=True)


def test_hanging_database_delays_only_the_first_requests(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch, spool_folder: Path
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(group_commit, "HANGING_SECONDS", 0.3)
    end_hanging = hang_inserts(monkeypatch)
    rows = [make_row(hook) for _ in range(10)]
    started = time.monotonic()
    for row in rows:
        own_writer.store(row)
    assert time.monotonic() - started < 1.5  # two waited; the others did not, because the database hung
    end_hanging.set()
    last = make_row(hook)
    wait_until(lambda: not own_writer._is_hanging())
    own_writer.store(last)
    assert stored_ids() == {rows[0].uid, last.uid}
    assert spooled_ids() == [row.uid for row in rows]


def test_rows_go_to_the_spool_during_an_outage(
    hook: Subscription,
    own_writer: Writer,
    database_outage: DatabaseOutage,
    spool_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own_writer.store(rows[0])
    database_outage.active = True
    own_writer.store(rows[1])
    database_outage.active = False
    own_writer.store(rows[2])  # behind the row in the spool, to preserve the order
    assert stored_ids() == {rows[0].uid}
    assert caplog.text.count("requests are written to the spool: the database is unavailable") == 1
    reported: list[UUID] = []
    drainer = Drainer(own_writer, spool, lambda rows: reported.extend(row.uid for row in rows))
    assert drainer.drain() == 2
    assert not own_writer.in_outage
    assert stored_ids_in_order() == [row.uid for row in rows]
    assert reported == [rows[1].uid, rows[2].uid]
    own_writer.store(make_row(hook))
    assert (WebhookRequest.objects.count(), drainer.drain()) == (4, 0)


def test_database_is_tried_again_if_the_spool_is_unusable(
    hook: Subscription, own_writer: Writer, database_outage: DatabaseOutage, spool_folder: Path
) -> None:
    spool_folder.write_text("a file where the folder should be")
    database_outage.active = True
    with pytest.raises(NotStored, match="The spool cannot be written"):
        own_writer.store(make_row(hook))
    database_outage.active = False
    own_writer.store(make_row(hook))
    assert WebhookRequest.objects.count() == 1
