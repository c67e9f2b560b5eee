"""The silence alarm: a silence is suspected, probed, confirmed, and ends when events arrive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, Silence, WebhookRequest
from events.monitoring import silence_probe, silence_suggestion
from events.monitoring.silence import ARRIVAL_WAIT, watch
from events.monitoring.silence_suggestion import suggestion
from events.processing import feed_position, normalize
from events.storage.time_range import first_id_at
from providers.contract.base import TestResult
from subscriptions.lifecycle import desired_state, receiver_probe, secrets
from subscriptions.models import Managed, ProblemKind, State, Subscription
from subscriptions.problems import registry
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.timeline import Timeline
from tests.harness.fake_provider import FakeProvider, body_of, clock_at, run_concurrently, store_request
from tests.harness.fixtures import Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

NOW = timezone.now()
HOUR = timedelta(hours=1)

RunPassAt = Callable[[datetime], int]


@pytest.fixture
def run_pass_at(monkeypatch: pytest.MonkeyPatch) -> RunPassAt:
    """Return a function that runs one pass at the given time."""

    def run(moment: datetime) -> int:
        with clock_at(monkeypatch, moment):
            return watch()

    return run


@pytest.fixture
def quiet_hook(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> Subscription:
    """Return an active manual subscription that should send every hour and sent its last event at NOW."""
    with clock_at(monkeypatch, NOW - 2 * HOUR):
        desired_state.set_silence_rules(hook, by="staff:ann", quiet_after=3600)
    Subscription.objects.filter(pk=hook.pk).update(
        managed=Managed.MANUAL, state=State.ACTIVE, created_at=NOW - 24 * HOUR
    )
    send(hook, NOW)
    hook.refresh_from_db()
    return hook


def send(row: Subscription, moment: datetime) -> WebhookRequest:
    request = store_request(row, body_of({"id": moment.isoformat(), "type": "made"}), received_at=moment)
    normalize.normalize_request(request.pk)
    return request


def silence_of(row: Subscription) -> tuple[datetime | None, str]:
    row.refresh_from_db()
    return row.silent_since, row.silence_reason


def test_a_silence_is_confirmed_only_after_the_expected_time_and_a_probe(
    quiet_hook: Subscription, run_pass_at: RunPassAt
) -> None:
    assert run_pass_at(NOW + HOUR - timedelta(seconds=1)) == 0
    assert not Silence.objects.exists()
    suspected_at = NOW + HOUR + timedelta(seconds=1)
    assert run_pass_at(suspected_at) == 0
    assert silence_of(quiet_hook) == (None, "")
    assert run_pass_at(suspected_at + ARRIVAL_WAIT / 2) == 0
    assert run_pass_at(suspected_at + ARRIVAL_WAIT) == 1
    since, reason = silence_of(quiet_hook)
    assert since == NOW
    assert reason == (
        "The subscription is managed manually, so the provider cannot be asked for its state. "
        "The receiver answers at its callback URL."
    )
    assert run_pass_at(suspected_at + 10 * ARRIVAL_WAIT) == 0
    assert Silence.objects.count() == 1


def test_an_event_during_the_wait_ends_the_suspicion(quiet_hook: Subscription, run_pass_at: RunPassAt) -> None:
    run_pass_at(NOW + 1.1 * HOUR)
    send(quiet_hook, NOW + 1.1 * HOUR + timedelta(seconds=30))
    assert run_pass_at(NOW + 1.2 * HOUR) == 0
    assert silence_of(quiet_hook) == (None, "")
    assert not Silence.objects.exists()


def make_silent(row: Subscription, run_pass_at: RunPassAt) -> datetime:
    """Make the subscription silent, and return when that was confirmed."""
    run_pass_at(NOW + 1.1 * HOUR)
    confirmed_at = NOW + 1.1 * HOUR + ARRIVAL_WAIT
    assert run_pass_at(confirmed_at) == 1
    return confirmed_at


def test_a_silence_ends_when_events_arrive(quiet_hook: Subscription, run_pass_at: RunPassAt) -> None:
    confirmed_at = make_silent(quiet_hook, run_pass_at)
    send(quiet_hook, confirmed_at + HOUR)
    run_pass_at(confirmed_at + HOUR + timedelta(seconds=20))
    assert silence_of(quiet_hook) == (None, "")
    assert Silence.objects.get().ended_at == confirmed_at + HOUR
    assert run_pass_at(confirmed_at + 2.1 * HOUR) == 0
    assert run_pass_at(confirmed_at + 2.2 * HOUR) == 1
    assert Silence.objects.count() == 2


def test_a_silence_is_a_problem_while_it_lasts_and_stays_on_the_timeline(
    quiet_hook: Subscription, run_pass_at: RunPassAt
) -> None:
    confirmed_at = make_silent(quiet_hook, run_pass_at)
    (source,) = [item for item in registry.all_sources() if item.kinds == {ProblemKind.SILENT}]
    (cause,) = source.find(confirmed_at)
    assert (cause.kind, cause.since, cause.subject.id) == (ProblemKind.SILENT, NOW, str(quiet_hook.uid))
    assert "The receiver answers" in cause.message
    send(quiet_hook, confirmed_at + HOUR)
    run_pass_at(confirmed_at + 1.1 * HOUR)
    assert list(source.find(confirmed_at)) == []
    for subject in (quiet_hook, quiet_hook.account):
        (entry,) = Timeline(subject, frozenset({"silence"})).part(10)
        assert (entry.title, entry.at, entry.subscription) == ("fell silent", confirmed_at, quiet_hook.uid)
        assert "It ended at" in entry.reason


@pytest.mark.parametrize(
    "change",
    [
        {"quiet_after": None},
        {"enabled": False},
        {"present": False},
        {"state": State.DISABLED},
        {"quiet_from": NOW + 3 * HOUR},
    ],
)
def test_a_silence_ends_when_no_events_are_expected(
    quiet_hook: Subscription, run_pass_at: RunPassAt, change: dict[str, object]
) -> None:
    confirmed_at = make_silent(quiet_hook, run_pass_at)
    Subscription.objects.filter(pk=quiet_hook.pk).update(**change)
    run_pass_at(confirmed_at + 2 * HOUR)
    assert silence_of(quiet_hook) == (None, "")
    assert Silence.objects.get(confirmed_at=confirmed_at).ended_at == confirmed_at + 2 * HOUR


def test_a_changed_expectation_counts_from_the_change(
    quiet_hook: Subscription, run_pass_at: RunPassAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock_at(monkeypatch, NOW + 10 * HOUR):
        desired_state.set_silence_rules(quiet_hook, by="staff:ann", quiet_after=7200)
    for hours in (10.1, 11.9):
        run_pass_at(NOW + hours * HOUR)
        assert not Silence.objects.exists()
    run_pass_at(NOW + 12.1 * HOUR)
    assert Silence.objects.get().since == NOW + 10 * HOUR


def test_quiet_hours_do_not_count(hook: Subscription, run_pass_at: RunPassAt, monkeypatch: pytest.MonkeyPatch) -> None:
    # Saturday, 24 October 2026, 22:30 in Berlin, half an hour before the quiet hours and the longest night of the year.
    last = datetime.fromisoformat("2026-10-24T20:30:00+00:00")
    with clock_at(monkeypatch, last - HOUR):
        night = {"time_zone": "Europe/Berlin", "from": "23:00", "until": "07:00"}
        desired_state.set_silence_rules(hook, by="staff:ann", quiet_after=3600, quiet_hours=night)
    Subscription.objects.filter(pk=hook.pk).update(
        managed=Managed.MANUAL, state=State.ACTIVE, last_event_at=last, created_at=last - HOUR
    )
    due = datetime.fromisoformat("2026-10-25T06:30:00+00:00")  # 7:30 in winter time
    run_pass_at(due - timedelta(seconds=1))
    assert not Silence.objects.exists()
    run_pass_at(due)
    assert Silence.objects.get().since == last


def test_without_any_event_the_silence_counts_from_creation(quiet_hook: Subscription, run_pass_at: RunPassAt) -> None:
    Subscription.objects.filter(pk=quiet_hook.pk).update(last_event_at=None, created_at=NOW, quiet_from=None)
    run_pass_at(NOW + 0.9 * HOUR)
    assert not Silence.objects.exists()
    run_pass_at(NOW + 1.1 * HOUR)
    assert Silence.objects.get().since == NOW


def test_subscriptions_without_expectation_are_not_watched(quiet_hook: Subscription, run_pass_at: RunPassAt) -> None:
    Subscription.objects.filter(pk=quiet_hook.pk).update(quiet_after=None)
    run_pass_at(NOW + 1000 * HOUR)
    assert not Silence.objects.exists()


# -- Probes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(subscription: Subscription, monkeypatch: pytest.MonkeyPatch, control: Control) -> Subscription:
    """Return a subscription registered at the sandbox whose last event was more than an hour ago."""
    assert reconcile(subscription, details=True)
    Subscription.objects.filter(pk=subscription.pk).update(
        quiet_after=3600, created_at=NOW - 9 * HOUR, last_event_at=NOW - 1.1 * HOUR
    )
    subscription.refresh_from_db()
    return subscription


def test_the_probe_checks_the_provider(registered: Subscription, run_pass_at: RunPassAt, control: Control) -> None:
    before = len(control.calls("GET"))
    watch()
    assert len(control.calls("GET")) > before
    assert run_pass_at(timezone.now() + ARRIVAL_WAIT) == 1
    assert silence_of(registered)[1] == (
        "The subscription is active and unchanged at Egnyte Connect. The receiver answers at its callback URL."
    )


def test_the_probe_reports_what_it_finds(
    registered: Subscription, run_pass_at: RunPassAt, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.post("faults", status=500, times=20)
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: "Our own receiver answered 502.")
    watch()
    assert run_pass_at(timezone.now() + ARRIVAL_WAIT) == 1
    reason = silence_of(registered)[1]
    assert "Checking the provider found the cause" in reason
    assert "Our own receiver answered 502." in reason


@pytest.fixture
def requested_tests(quiet_hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the fake provider send harmless test webhooks. Return the list of actors that requested one."""
    fake.declare(can_test=True, test_is_harmless=True)
    Subscription.objects.filter(pk=quiet_hook.pk).update(managed=Managed.API, remote_id="1")
    requested: list[str] = []
    monkeypatch.setattr(silence_probe, "check_provider", lambda row: "It is there.")

    def send_test_webhook(row: Subscription, *, by: str) -> TestResult:
        requested.append(by)
        return TestResult(ok=True, detail="Sent.")

    monkeypatch.setattr(secrets, "send_test_webhook", send_test_webhook)
    return requested


def test_a_test_webhook_that_arrives_is_reported_and_does_not_end_the_silence(
    quiet_hook: Subscription, requested_tests: list[str], run_pass_at: RunPassAt
) -> None:
    run_pass_at(NOW + 1.1 * HOUR)
    assert requested_tests == ["clock"]
    send(quiet_hook, NOW + 1.1 * HOUR + timedelta(seconds=3))  # the test
    confirmed_at = NOW + 1.1 * HOUR + ARRIVAL_WAIT
    assert run_pass_at(confirmed_at) == 1
    assert silence_of(quiet_hook) == (
        NOW,
        "It is there. The receiver answers at its callback URL. The requested test webhook arrived.",
    )
    run_pass_at(confirmed_at + HOUR)
    assert silence_of(quiet_hook)[0] == NOW  # the test webhook does not end it later either
    send(quiet_hook, confirmed_at + 1.5 * HOUR)
    run_pass_at(confirmed_at + 1.6 * HOUR)
    assert silence_of(quiet_hook)[0] is None


def test_a_test_webhook_that_does_not_arrive_is_reported(
    quiet_hook: Subscription, requested_tests: list[str], run_pass_at: RunPassAt
) -> None:
    make_silent(quiet_hook, run_pass_at)
    assert silence_of(quiet_hook)[1].endswith("The requested test webhook did not arrive within 2 minutes.")


def test_an_event_besides_the_test_webhook_ends_the_suspicion(
    quiet_hook: Subscription, requested_tests: list[str], run_pass_at: RunPassAt
) -> None:
    run_pass_at(NOW + 1.1 * HOUR)
    for seconds in (3, 5):
        send(quiet_hook, NOW + 1.1 * HOUR + timedelta(seconds=seconds))
    assert run_pass_at(NOW + 1.1 * HOUR + ARRIVAL_WAIT) == 0
    assert not Silence.objects.exists()


def test_test_webhooks_that_might_be_mistaken_for_events_are_not_requested(
    quiet_hook: Subscription, requested_tests: list[str], fake: FakeProvider, run_pass_at: RunPassAt
) -> None:
    fake.declare(test_is_harmless=False)
    make_silent(quiet_hook, run_pass_at)
    assert requested_tests == []


def test_a_probe_interrupted_by_a_dead_worker_is_concluded(
    quiet_hook: Subscription, run_pass_at: RunPassAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(url: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(receiver_probe, "find_receiver_error", die)
        with pytest.raises(KeyboardInterrupt):
            run_pass_at(NOW + 1.1 * HOUR)
    assert run_pass_at(NOW + 1.1 * HOUR + ARRIVAL_WAIT) == 1
    assert "interrupted" in silence_of(quiet_hook)[1]


@pytest.mark.django_db(transaction=True)
def test_two_workers_probe_once(quiet_hook: Subscription, requested_tests: list[str]) -> None:
    Subscription.objects.filter(pk=quiet_hook.pk).update(
        last_event_at=NOW - 2 * HOUR, quiet_from=None, created_at=NOW - 9 * HOUR
    )
    run_concurrently(watch, watch)
    assert len(requested_tests) == 1
    assert Silence.objects.count() == 1


# -- Suggestions -------------------------------------------------------------------------------------------------------


def create_past_events(row: Subscription, moments: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    """Create events received at these times, with IDs of the same times."""
    request = store_request(row, b"")
    for moment in moments:
        uid = first_id_at(moment)
        Event.objects.create(
            uid=uid,
            account=row.account,
            subscription=row,
            request=request,
            provider="fake",
            type="made",
            action="created",
            received_at=moment,
            dedup_key=str(uid),
            position=feed_position.allocate(1),
        )


MONDAY = datetime.fromisoformat("2026-01-05T00:00:00+00:00")


def office_hours(days: int) -> list[datetime]:
    """Return every half hour from 8:00 to 18:00, Monday to Friday."""
    return [
        MONDAY + timedelta(days=day, hours=8, minutes=30 * half)
        for day in range(days)
        if day % 7 < 5
        for half in range(21)
    ]


@pytest.mark.slow
def test_the_suggestion_follows_the_history(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    create_past_events(hook, office_hours(26), monkeypatch)
    now = MONDAY + timedelta(days=26)
    nights_and_weekends = suggestion(hook, now)
    assert nights_and_weekends is not None
    assert nights_and_weekends >= 62 * 3600  # from Friday evening to Monday morning
    hook.quiet_hours = {"time_zone": "UTC", "from": None, "until": None, "weekends": True}
    assert suggestion(hook, now) == 21 * 3600  # a night of 14 hours, and the margin
    hook.quiet_hours = {"time_zone": "UTC", "from": "18:00", "until": "08:00", "weekends": True}
    assert suggestion(hook, now) == 45 * 60


@pytest.mark.slow
def test_one_unusual_day_does_not_change_the_suggestion(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [MONDAY + timedelta(hours=hour) for hour in range(24 * 20) if not 200 < hour < 230]
    create_past_events(hook, steady, monkeypatch)
    assert suggestion(hook, MONDAY + timedelta(days=20)) == 90 * 60


def test_no_suggestion_with_too_little_history(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suggestion(hook, NOW) is None
    create_past_events(hook, [MONDAY + timedelta(hours=hour) for hour in range(40)], monkeypatch)
    assert suggestion(hook, MONDAY + timedelta(days=2)) is None


@pytest.mark.slow
def test_a_busy_subscription_is_sampled(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_suggestion, "MAX_SAMPLES", 100)
    create_past_events(hook, [MONDAY + timedelta(minutes=10 * step) for step in range(6 * 24 * 5)], monkeypatch)
    with CaptureQueriesContext(connection) as queries:
        suggested = suggestion(hook, MONDAY + timedelta(days=5))
    assert len(queries) <= 5
    assert len(silence_suggestion.sample_times(hook, MONDAY + timedelta(days=5))) <= 102
    assert suggested is not None
    assert 900 <= suggested <= 3 * 3600
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {silence_suggestion.SAMPLE}", [1, hook.pk, 1, 0, 10])
            steps = " ".join(str(row[3]) for row in cursor.fetchall())
        assert "event_of_subscription" in steps
        assert "SCAN event" not in steps


def test_suggestions_are_updated_once_a_day(
    quiet_hook: Subscription, run_pass_at: RunPassAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence_suggestion, "suggestion", lambda row, now: 5400)
    run_pass_at(NOW)
    quiet_hook.refresh_from_db()
    assert (quiet_hook.quiet_suggestion, quiet_hook.suggested_minutes) == (5400, 90)
    monkeypatch.setattr(silence_suggestion, "suggestion", lambda row, now: 7200)
    for hours, expected in ((23, 5400), (25, 7200)):
        run_pass_at(NOW + hours * HOUR)
        quiet_hook.refresh_from_db()
        assert quiet_hook.quiet_suggestion == expected
