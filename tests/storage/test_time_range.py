"""When requests came, found through their numbers: right also for those that were stored long after they came."""

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


def came(hook: Subscription, moment: datetime, **changes: object) -> RequestRow:
    uid = type(first_id_at(moment))(int=first_id_at(moment).int + 1)
    return make_row(hook)._replace(received_at=moment, uid=uid, **changes)  # type: ignore[arg-type]  # checked by it


def store(rows: Sequence[RequestRow]) -> None:
    table = RequestTable()
    try:
        table.insert(rows)
    finally:
        table.close()


def drain(rows: Sequence[RequestRow]) -> None:
    """Through the spool, now."""
    own, table = Spool(), RequestTable()
    own.append(rows)
    try:
        own.drain(make_insert(table, lambda rows: None))
    finally:
        table.close()
        own.close()


@pytest.fixture
def story(hook: Subscription, spool_folder: Path) -> dict[str, RequestRow]:
    """Before, during and after an outage of two days; what came during it at one machine is stored only now, and
    much that came after it has been stored before that."""
    now = timezone.now()
    early = [came(hook, now - 100 * HOUR + timedelta(minutes=n)) for n in range(30)]
    during = [came(hook, now - 60 * HOUR + timedelta(minutes=n)) for n in range(40)]
    after = [came(hook, now - 10 * HOUR + timedelta(minutes=n)) for n in range(30)]
    store(early)
    store(after)
    drain(during)
    recent = [came(hook, now - timedelta(minutes=3))]
    store(recent)
    return {str(row.uid): row for row in (*early, *during, *after, *recent)}


def test_both_bounds_are_right_for_what_was_stored_late(story: dict[str, RequestRow]) -> None:
    now = timezone.now()
    moments = [now - hours * HOUR for hours in (200, 100, 99.75, 80, 60, 59.5, 40, 20, 10, 9.75, 5, 0.05, 0)]
    for moment in moments:
        since = {str(uid) for uid in requests_since(WebhookRequest.objects.all(), moment).values_list("uid", flat=True)}
        until = {str(uid) for uid in requests_until(WebhookRequest.objects.all(), moment).values_list("uid", flat=True)}
        assert since == {uid for uid, row in story.items() if row.received_at >= moment}, moment
        assert until == {uid for uid, row in story.items() if row.received_at < moment}, moment


def test_an_outage_is_one_fact_however_many_portions_it_was_drained_in(hook: Subscription, spool_folder: Path) -> None:
    now = timezone.now()
    for hours in (30, 29, 31, 28):
        drain([came(hook, now - hours * HOUR)])
    (outage,) = Outage.objects.all()
    assert outage.since == now - 31 * HOUR
    assert outage.stored_by > now


def test_what_waited_for_seconds_is_no_outage(hook: Subscription, spool_folder: Path) -> None:
    drain([came(hook, timezone.now() - timedelta(seconds=20))])
    assert not Outage.objects.exists()


def test_a_longer_outage_costs_only_the_times_within_it(
    story: dict[str, RequestRow],
) -> None:
    (outage,) = Outage.objects.all()
    assert time_range._outages_over(outage.since - HOUR) == []
    assert time_range._outages_over(outage.since + HOUR) == [(outage.since, outage.stored_by)]


def test_what_was_stored_late_is_purged_when_its_age_has_come(hook: Subscription, spool_folder: Path) -> None:
    now = timezone.now()
    store([came(hook, now - 2 * HOUR + timedelta(seconds=n)) for n in range(retention.SCAN_BATCH + 1)])
    drain([came(hook, now - 60 * HOUR)])
    WebhookRequest.objects.update(outcome=Outcome.PROCESSED)
    account = hook.account
    account.retention_days = 2
    account.save()
    purge = Purge.objects.create(account=account)
    retention.purge(purge)
    assert WebhookRequest.objects.count() == retention.SCAN_BATCH + 1
    assert not WebhookRequest.objects.filter(received_at__lt=now - 48 * HOUR).exists()


def test_a_rejected_one_that_was_stored_late_is_forgotten_when_its_age_has_come(
    hook: Subscription, spool_folder: Path
) -> None:
    now = timezone.now()
    store([came(hook, now - HOUR * 30)])
    drain([came(hook, now - rejected.MAX_AGE - HOUR, outcome="rejected", processed_at=now)])
    assert rejected.delete_aged() == 1
