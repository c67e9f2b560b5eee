"""The home page: what it says when all is well, when it is not, and at the very beginning."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from events.models import Event, WebhookRequest
from events.monitoring.request_counts import received_per_hour
from events.processing.normalize import normalize_pending
from events.storage.time_range import first_id_at
from providers.db.ids import new_id
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Heartbeat, Problem, State, Subscription
from subscriptions.problems import checks, detector
from tests.harness.fake_provider import body_of, store_request

HOME = "/admin/"


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()


@pytest.fixture
def alive(db: None) -> None:
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")


def refuse_credentials() -> None:
    ProviderAccount.objects.update(
        status=AccountStatus.FAILING,
        calls_paused_for="authentication_failed",
        calls_paused_reason="Get a new token.",
    )


def verdict(client: Client) -> str:
    return str(client.get(HOME).context["verdict"].text)


def test_first_steps(boss: Client, alive: None) -> None:
    page = boss.get(HOME).content.decode()
    assert "Ready. Nothing is subscribed yet." in page
    assert 'href="/admin/providers/provideraccount/add/"' in page
    ProviderAccount.objects.create(provider="egnyte-connect", name="Acme")
    page = boss.get(HOME).content.decode()
    assert 'href="/admin/providers/provideraccount/add/"' not in page
    assert 'href="/admin/subscriptions/subscription/add/"' in page


def test_first_steps_end_with_the_first_event(boss: Client, alive: None, received: WebhookRequest) -> None:
    assert boss.get(HOME).context["first_steps"] is None


def test_all_is_well(boss: Client, alive: None, hook: Subscription) -> None:
    Subscription.objects.update(state=State.ACTIVE)
    assert verdict(boss) == "The subscription is alive."
    Subscription.objects.create(account=hook.account, state=State.DISABLED)
    assert verdict(boss) == "All is well: 1 of 2 subscriptions are active."


@pytest.mark.parametrize("state", [State.EXPIRED, State.MISSING, State.SUSPENDED, State.DRIFTED, State.FAILING])
def test_trouble_is_named_with_a_way_there(boss: Client, alive: None, hook: Subscription, state: State) -> None:
    ended = timezone.now() - timedelta(hours=1)
    Subscription.objects.update(
        state=state, state_reason="The provider says no.", name="Finance", remote_id="r-1", expires_at=ended
    )
    detector.detect()
    problem = Problem.objects.get(kind="expired" if state == State.EXPIRED else state)
    response = boss.get(HOME)
    assert (
        response.context["verdict"].text == f"1 problem needs a person: Finance ({problem.get_kind_display().lower()})."
    )
    assert response.context["verdict"].link == f"/admin/subscriptions/problem/{problem.pk}/change/"
    page = response.content.decode()
    assert problem.message in page
    assert problem.get_severity_display() in page


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISABLED, State.MANUAL, State.PENDING, State.DELETED])
def test_what_is_as_it_should_be_is_no_trouble(boss: Client, alive: None, hook: Subscription, state: State) -> None:
    Subscription.objects.update(state=state)
    detector.detect()
    assert boss.get(HOME).context["concerns"] == []


def test_failing_accounts_and_waiting_requests_are_named(boss: Client, alive: None, hook: Subscription) -> None:
    refuse_credentials()
    store_request(hook, b"{}", headers=())
    store_request(hook, b"no json")
    normalize_pending()
    detector.detect()
    response = boss.get(HOME)
    assert [item.state for item in response.context["concerns"]] == ["critical", "warning", "warning"]
    page = response.content.decode()
    assert "Get a new token." in page
    assert "outcome=rejected" in page
    assert "outcome=quarantined" in page
    assert f'href="/admin/providers/provideraccount/{hook.account_id}/edit/"' in page


def test_what_is_acknowledged_or_only_good_to_know_needs_nobody(boss: Client, alive: None, hook: Subscription) -> None:
    refuse_credentials()
    detector.detect()
    detector.acknowledge(Problem.objects.get(), by="staff:ann")
    assert boss.get(HOME).context["concerns"] == []
    assert verdict(boss) == "1 problem holds, and somebody is on it."
    Problem.objects.update(state="open", severity="info")
    assert boss.get(HOME).context["concerns"] == []


def test_more_than_is_shown_is_said(boss: Client, alive: None, hook: Subscription) -> None:
    for number in range(12):
        Subscription.objects.create(account=hook.account, name=f"S{number}", state=State.DRIFTED, due_at=None)
    detector.detect()
    response = boss.get(HOME)
    assert response.context["verdict"].text.startswith("12 problems need a person.")
    assert 'class="hk-count">12<' in response.content.decode(), "in the navigation"


def test_a_silent_worker_is_the_worst(
    boss: Client, alive: None, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)
    Heartbeat.objects.filter(name="scheduler").update(at=timezone.now() - timedelta(minutes=5))
    detector.detect()
    assert verdict(boss) == "1 problem needs a person: Scheduler down."
    refuse_credentials()
    Subscription.objects.update(state=State.MISSING)
    detector.detect()
    assert [item.what for item in boss.get(HOME).context["concerns"]] == [
        "Scheduler down",
        "Credentials: Fake account",
        f"Missing: {hook.uid}",
    ], "what may be the cause of the others comes first"


def test_it_does_not_say_that_all_is_well_when_nobody_looks(boss: Client, alive: None, hook: Subscription) -> None:
    detector.detect_if_due()
    assert "Nobody looks" not in verdict(boss)
    Heartbeat.objects.filter(name=detector.HEARTBEAT).update(at=timezone.now() - timedelta(minutes=5))
    assert verdict(boss) == "Nobody looks for problems: is a worker running?"


def test_nobody_sees_more_than_they_may(nobody: Client, alive: None, received: WebhookRequest) -> None:
    Subscription.objects.update(name="Finance", state=State.FAILING)
    detector.detect()
    page = nobody.get(HOME).content.decode()
    assert "Finance" not in page
    assert "Plan.docx" not in page
    assert "<canvas" not in page


def test_next_renewals_come_in_their_order(boss: Client, alive: None, hook: Subscription) -> None:
    now = timezone.now()
    later = Subscription.objects.create(account=hook.account, renew_at=now + timedelta(hours=2), expires_at=now)
    Subscription.objects.filter(pk=hook.pk).update(renew_at=now + timedelta(hours=1), expires_at=now)
    Subscription.objects.create(account=hook.account, renew_at=now, present=False)
    assert [row.pk for row in boss.get(HOME).context["renewals"]] == [hook.pk, later.pk]


def arrive(hook: Subscription, moment: datetime, count: int) -> None:
    for _ in range(count):
        request = store_request(hook, b"", received_at=moment)
        own = new_id().int & ((1 << 62) - 1)
        uid = type(request.uid)(int=first_id_at(moment).int | own)
        WebhookRequest.objects.filter(pk=request.pk).update(uid=uid)


def test_requests_per_hour(hook: Subscription) -> None:
    now = timezone.now().replace(minute=30)
    for hours, count in ((60, 1), (47, 2), (3, 4), (1, 3), (0, 1)):
        arrive(hook, now - timedelta(hours=hours), count)
    expected = {47: 2, 3: 4, 1: 3, 0: 1}
    for _ in range(2):  # the second time from the cache
        counts = [hour.count for hour in received_per_hour(now, 48)]
        assert counts == [expected.get(47 - index, 0) for index in range(48)]
    arrive(hook, now, 2)
    assert received_per_hour(now, 48)[-1].count == 3


def test_hours_without_anything(db: None) -> None:
    assert [hour.count for hour in received_per_hour(timezone.now(), 48)] == [0] * 48


def test_it_needs_few_queries_however_much_there_is(
    boss: Client, alive: None, hook: Subscription, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    store_request(hook, body_of(*({"id": number, "type": "made"} for number in range(30))))
    normalize_pending()
    boss.get(HOME)
    assert Event.objects.count() == 30
    with django_assert_max_num_queries(25 + 48):  # one look-up an hour, each remembered once something came since
        boss.get(HOME)
