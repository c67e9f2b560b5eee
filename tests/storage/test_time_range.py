"""Time ranges of requests, including those that were stored long after they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from events.models import Outage, Outcome, Purge, WebhookRequest
from events.receiver.request_table import RequestTable
from events.receiver.spool.file import Spool
from events.receiver.spool_drain import make_insert
from events.retention import purge as retention
from events.retention import rejected
from events.storage import time_range
from events.storage.request_row import RequestRow
from events.storage.time_range import first_id_at, requests_since, requests_until
from subscriptions.models import Subscription
from tests.harness.receiving import make_row

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def make_row_at(hook: Subscription, moment: datetime, **changes: object) -> RequestRow:
    uid = type(first_id_at(moment))(int=first_id_at(moment).int + 1)
    return make_row(hook)._replace(received_at=moment, uid=uid, **changes)  # type: ignore[arg-type]  # checked by it


def store(rows: Sequence[RequestRow]) -> None:
    table = RequestTable()
    try:
        table.insert(rows)
    finally:
        table.close()


def drain(rows: Sequence[RequestRow]) -> None:
    """Store the rows through the spool."""
    spool, table = Spool(), RequestTable()
    spool.append(rows)
    try:
        spool.drain(make_insert(table, lambda rows: None))
    finally:
        table.close()
        spool.close()


@pytest.fixture
def rows_around_outage(hook: Subscription, spool_folder: Path) -> dict[str, RequestRow]:
    """Store requests from before, during and after an outage of two days.

    Those from the outage are stored after many later ones, and before the last one.
    """
    now = timezone.now()
    early = [make_row_at(hook, now - 100 * HOUR + timedelta(minutes=n)) for n in range(30)]
    during = [make_row_at(hook, now - 60 * HOUR + timedelta(minutes=n)) for n in range(40)]
    after = [make_row_at(hook, now - 10 * HOUR + timedelta(minutes=n)) for n in range(30)]
    store(early)
    store(after)
    drain(during)
    recent = [make_row_at(hook, now - timedelta(minutes=3))]
    store(recent)
    return {str(row.uid): row for row in (*early, *during, *after, *recent)}


def test_both_bounds_include_requests_stored_late(rows_around_outage: dict[str, RequestRow]) -> None:
    now = timezone.now()
    moments = [now - hours * HOUR for hours in (200, 100, 99.75, 80, 60, 59.5, 40, 20, 10, 9.75, 5, 0.05, 0)]
    for moment in moments:
        since = {str(uid) for uid in requests_since(WebhookRequest.objects.all(), moment).values_list("uid", flat=True)}
        until = {str(uid) for uid in requests_until(WebhookRequest.objects.all(), moment).values_list("uid", flat=True)}
        assert since == {uid for uid, row in rows_around_outage.items() if row.received_at >= moment}, moment
        assert until == {uid for uid, row in rows_around_outage.items() if row.received_at < moment}, moment


def test_outage_is_recorded_once_however_many_batches_are_drained(hook: Subscription, spool_folder: Path) -> None:
    now = timezone.now()
    for hours in (30, 29, 31, 28):
        drain([make_row_at(hook, now - hours * HOUR)])
    (outage,) = Outage.objects.all()
    assert outage.since == now - 31 * HOUR
    assert outage.stored_by > now


def test_delay_of_seconds_is_no_outage(hook: Subscription, spool_folder: Path) -> None:
    drain([make_row_at(hook, timezone.now() - timedelta(seconds=20))])
    assert not Outage.objects.exists()


def test_outage_only_affects_times_within_it(
    rows_around_outage: dict[str, RequestRow],
) -> None:
    (outage,) = Outage.objects.all()
    assert time_range._outages_over(outage.since - HOUR) == []
    assert time_range._outages_over(outage.since + HOUR) == [(outage.since, outage.stored_by)]


def test_requests_stored_late_are_purged_by_age(hook: Subscription, spool_folder: Path) -> None:
    now = timezone.now()
    store([make_row_at(hook, now - 2 * HOUR + timedelta(seconds=n)) for n in range(retention.SCAN_BATCH + 1)])
    drain([make_row_at(hook, now - 60 * HOUR)])
    WebhookRequest.objects.update(outcome=Outcome.PROCESSED)
    account = hook.account
    account.retention_days = 2
    account.save()
    purge = Purge.objects.create(account=account)
    retention.purge(purge, now)
    assert WebhookRequest.objects.count() == retention.SCAN_BATCH + 1
    assert not WebhookRequest.objects.filter(received_at__lt=now - 48 * HOUR).exists()


def test_rejected_requests_stored_late_are_deleted_by_age(hook: Subscription, spool_folder: Path) -> None:
    now = timezone.now()
    store([make_row_at(hook, now - HOUR * 30)])
    rejection = {"outcome": "rejected", "verification": "failed", "processed_at": now}
    drain([make_row_at(hook, now - rejected.MAX_AGE - HOUR, **rejection)])
    assert rejected.delete_aged() == 1
