"""The timeline: entries of several tables, merged and paged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from providers.audit import log, state_changes
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions import timeline
from subscriptions.lifecycle import desired_state
from subscriptions.models import (
    Operation,
    OperationStatus,
    Problem,
    ProblemKind,
    ProblemTransition,
    Severity,
    State,
    SubjectType,
    Subscription,
    Transition,
)
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.timeline import Entry, Kind, Source, Span, Subject, Timeline
from tests.harness.fixtures import Control

pytestmark = pytest.mark.django_db


def summary(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.kind, entry.title) for entry in entries]


def operate(row: Subscription, action: str = "renew", status: str = OperationStatus.SUCCEEDED) -> Operation:
    return Operation.objects.create(
        subscription=row, action=action, actor="clock", status=status, reason="It is time.", error=None
    )


def fill(row: Subscription, count: int) -> None:
    """Create entries of three kinds in turn."""
    for number in range(count):
        match number % 3:
            case 0:
                operate(row)
            case 1:
                state = State.ACTIVE if row.state != State.ACTIVE else State.FAILING
                rows = Subscription.objects.filter(pk=row.pk)
                assert state_changes.write(rows, by="clock", state=state, state_reason="So it is.")
                row.refresh_from_db()
            case _:
                desired_state.change(row, by="staff:ann", name=f"Name {number}")


@pytest.mark.usefixtures("receiver_answers")
def test_the_timeline_of_a_subscription_has_all_kinds_of_entries(subscription: Subscription, control: Control) -> None:
    reconcile(subscription, details=True)
    desired_state.change(subscription, by="api:importer", enabled=False)
    reconcile(subscription, details=True)
    entries = Timeline(subscription).part(50)
    assert summary(entries) == [
        ("state", "became disabled"),
        ("operation", "disable"),
        ("action", "changed"),
        ("state", "became active"),
        ("operation", "register"),
        ("action", "created"),
    ]
    assert [entry.actor for entry in entries] == [*["api:importer"] * 3, *["staff:ann"] * 3]
    assert all(entry.reason for entry in entries if entry.kind != "action")
    assert entries[2].changes == [{"field": "enabled", "from": True, "to": False}]
    assert {entry.subscription for entry in entries} == {subscription.uid}


@pytest.mark.usefixtures("receiver_answers")
def test_syncs_that_find_nothing_new_never_appear(subscription: Subscription, control: Control) -> None:
    reconcile(subscription, details=True)
    before = summary(Timeline(subscription).part(50))
    for _ in range(3):
        reconcile(subscription, details=True)
    assert summary(Timeline(subscription).part(50)) == before


def test_the_timeline_of_an_account_contains_only_its_own_subscriptions(hook: Subscription, fake: object) -> None:
    fill(hook, 3)
    log.record("staff:ann", "changed", "account", subject_id=hook.account.uid, account_id=hook.account_id)
    other = Subscription.objects.create(
        account=ProviderAccount.objects.create(provider="fake", name="Other"), name="Elsewhere"
    )
    fill(other, 3)
    entries = Timeline(hook.account).part(50)
    assert summary(entries) == [
        ("action", "changed"),
        ("action", "changed"),
        ("state", "became active"),
        ("operation", "renew"),
    ]
    assert [entry.about.name if entry.about else None for entry in entries] == [None, "Name 2", "Name 2", "Name 2"]


def test_paging_in_both_directions_returns_every_entry_once(hook: Subscription) -> None:
    fill(hook, 20)
    full_timeline = Timeline(hook)
    everything = [entry.key for entry in full_timeline.part(100)]
    assert everything == sorted(everything, reverse=True)
    down: list[UUID] = []
    cursor: UUID | None = None
    while page := full_timeline.part(3, below=cursor):
        down += [entry.key for entry in page]
        cursor = down[-1]
    assert down == everything
    up: list[UUID] = []
    cursor = everything[-1]
    while page := full_timeline.part(3, above=cursor):
        up = [entry.key for entry in page] + up
        cursor = up[0]
    assert up == everything[:-1]


def test_filtering_by_kind(hook: Subscription) -> None:
    fill(hook, 6)
    log.record("staff:ann", "secret revealed", "subscription", subject_id=hook.uid)
    for kind in ("operation", "state", "action", "secret"):
        entries = Timeline(hook, frozenset({kind})).part(50)
        assert {entry.kind for entry in entries} == {kind}
    assert len(Timeline(hook).part(50)) == 1 + sum(
        len(Timeline(hook, frozenset({kind})).part(50)) for kind in ("operation", "state", "action")
    )


def test_repeated_state_changes_are_counted_in_one_entry(hook: Subscription) -> None:
    rows = Subscription.objects.filter(pk=hook.pk)
    for number in range(40):
        state_changes.write(rows, by="clock", state=State.FAILING if number % 2 else State.ACTIVE, state_reason="To.")
    entries = Timeline(hook).part(50)
    assert [(entry.title, entry.times) for entry in entries] == [
        ("became active", 19),
        ("became failing", 20),
        ("became active", 1),
    ]
    assert entries[0].last_at is not None


def test_problem_transitions_are_entries(hook: Subscription) -> None:
    now = timezone.now()
    problem = Problem.objects.create(
        kind=ProblemKind.MISSING,
        severity=Severity.CRITICAL,
        subject_type=SubjectType.SUBSCRIPTION,
        subject_id=str(hook.uid),
        account=hook.account,
        subscription=hook,
        message="It is gone.",
        **dict.fromkeys(("first_at", "opened_at", "last_at", "changed_at"), now),
    )
    for transition, actor in ((Transition.OPENED, "clock"), (Transition.ACKNOWLEDGED, "staff:ann")):
        ProblemTransition.objects.create(
            problem=problem,
            account=hook.account,
            subject_id=str(hook.uid),
            at=now,
            transition=transition,
            actor=actor,
            severity=problem.severity,
            message=problem.message,
        )
    for subject in (hook, hook.account):
        entries = Timeline(subject, frozenset({"problem"})).part(5)
        assert [(entry.title, entry.actor, entry.reason) for entry in entries] == [
            ("Missing: acknowledged", "staff:ann", ""),
            ("Missing: opened", "clock", "It is gone."),
        ]
        assert {entry.subscription for entry in entries} == {hook.uid}


@pytest.fixture
def weather_source() -> Iterator[None]:
    """Register the source of another app."""

    def read(subject: Subject, span: Span) -> list[Entry]:
        return [Entry(key=new_id(), at=timezone.now(), kind="weather", title="rain", actor="clock")]

    timeline.register(Source({"weather": Kind("Weather", "rainy")}, read))
    yield
    timeline._sources.pop()


@pytest.mark.usefixtures("weather_source")
def test_other_apps_can_register_a_source(hook: Subscription) -> None:
    fill(hook, 3)
    assert summary(Timeline(hook).part(50))[0] == ("weather", "rain")
    assert Timeline(hook, frozenset({"weather"})).part(50)[0].icon == "rainy"


def test_a_page_costs_one_query_per_source(hook: Subscription) -> None:
    fill(hook, 60)
    full_timeline = Timeline(hook.account)
    with CaptureQueriesContext(connection) as queries_of_10:
        full_timeline.part(10)
    with CaptureQueriesContext(connection) as queries_of_50:
        full_timeline.part(50)
    assert len(queries_of_50) == len(queries_of_10) <= len(timeline._sources) + 1


def test_the_queries_use_indexes(hook: Subscription) -> None:
    with CaptureQueriesContext(connection) as queries:
        Timeline(hook).part(10, below=new_id())
        Timeline(hook.account).part(10, above=new_id())
    if connection.vendor != "sqlite":
        pytest.skip("EXPLAIN differs on PostgreSQL, which scans small tables anyway")
    for query in queries.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            steps = " ".join(str(row[3]) for row in cursor.fetchall())
        assert "TEMP B-TREE" not in steps, query["sql"]
        assert "SCAN" not in steps, query["sql"]


def test_an_operation_is_placed_at_its_start(hook: Subscription) -> None:
    running = operate(hook, status=OperationStatus.RUNNING)
    desired_state.change(hook, by="staff:ann", name="Another")
    running.status, running.finished_at = OperationStatus.SUCCEEDED, timezone.now() + timedelta(minutes=1)
    running.save()
    entries = Timeline(hook).part(10)
    assert [entry.status for entry in entries if entry.kind == "operation"] == ["succeeded"]
    assert entries[-1].operation == running
