"""The home page: the verdict with and without problems, and the first steps."""

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
def heartbeats(db: None) -> None:
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


def test_first_steps(superuser: Client, heartbeats: None) -> None:
    page = superuser.get(HOME).content.decode()
    assert "Ready. There are no subscriptions yet." in page
    assert 'href="/admin/providers/provideraccount/add/"' in page
    ProviderAccount.objects.create(provider="egnyte-connect", name="Acme")
    page = superuser.get(HOME).content.decode()
    assert 'href="/admin/providers/provideraccount/add/"' not in page
    assert 'href="/admin/subscriptions/subscription/add/"' in page


def test_first_steps_end_with_the_first_event(superuser: Client, heartbeats: None, received: WebhookRequest) -> None:
    assert superuser.get(HOME).context["first_steps"] is None


def test_the_verdict_without_problems(superuser: Client, heartbeats: None, hook: Subscription) -> None:
    Subscription.objects.update(state=State.ACTIVE)
    assert verdict(superuser) == "The subscription is active."
    Subscription.objects.create(account=hook.account, state=State.DISABLED)
    assert verdict(superuser) == "No open problems. 1 of 2 subscriptions are active."


@pytest.mark.parametrize("state", [State.EXPIRED, State.MISSING, State.SUSPENDED, State.DRIFTED, State.FAILING])
def test_a_problem_is_named_and_linked(superuser: Client, heartbeats: None, hook: Subscription, state: State) -> None:
    ended = timezone.now() - timedelta(hours=1)
    Subscription.objects.update(
        state=state, state_reason="The provider refuses.", name="Finance", remote_id="r-1", expires_at=ended
    )
    detector.detect()
    problem = Problem.objects.get(kind="expired" if state == State.EXPIRED else state)
    response = superuser.get(HOME)
    assert response.context["verdict"].text == f"1 open problem: Finance ({problem.get_kind_display().lower()})."
    assert response.context["verdict"].link == f"/admin/subscriptions/problem/{problem.pk}/change/"
    page = response.content.decode()
    assert problem.message in page
    assert problem.get_severity_display() in page


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISABLED, State.MANUAL, State.PENDING, State.DELETED])
def test_intended_states_are_no_problems(superuser: Client, heartbeats: None, hook: Subscription, state: State) -> None:
    Subscription.objects.update(state=state)
    detector.detect()
    assert superuser.get(HOME).context["problems"] == []


def test_failing_accounts_and_unprocessed_requests_are_listed(
    superuser: Client, heartbeats: None, hook: Subscription
) -> None:
    refuse_credentials()
    store_request(hook, b"{}", headers=())
    store_request(hook, b"no json")
    normalize_pending()
    detector.detect()
    response = superuser.get(HOME)
    assert [item.state for item in response.context["problems"]] == ["critical", "warning", "warning"]
    page = response.content.decode()
    assert "Get a new token." in page
    assert "outcome=rejected" in page
    assert "outcome=quarantined" in page
    assert f'href="/admin/providers/provideraccount/{hook.account_id}/edit/"' in page


def test_acknowledged_and_info_problems_need_no_attention(
    superuser: Client, heartbeats: None, hook: Subscription
) -> None:
    refuse_credentials()
    detector.detect()
    detector.acknowledge(Problem.objects.get(), by="staff:ann")
    assert superuser.get(HOME).context["problems"] == []
    assert verdict(superuser) == "No open problems. 1 acknowledged."
    Problem.objects.update(state="open", severity="info")
    assert superuser.get(HOME).context["problems"] == []


def test_the_verdict_counts_all_problems(superuser: Client, heartbeats: None, hook: Subscription) -> None:
    for number in range(12):
        Subscription.objects.create(account=hook.account, name=f"S{number}", state=State.DRIFTED, due_at=None)
    detector.detect()
    response = superuser.get(HOME)
    assert response.context["verdict"].text.startswith("12 open problems.")
    assert 'class="hk-count">12<' in response.content.decode(), "in the navigation"


def test_a_stopped_scheduler_is_the_most_severe_problem(
    superuser: Client, heartbeats: None, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)
    Heartbeat.objects.filter(name="scheduler").update(at=timezone.now() - timedelta(minutes=5))
    detector.detect()
    assert verdict(superuser) == "1 open problem: Scheduler down."
    refuse_credentials()
    Subscription.objects.update(state=State.MISSING)
    detector.detect()
    assert [item.title for item in superuser.get(HOME).context["problems"]] == [
        "Scheduler down",
        "Credentials: Fake account",
        f"Missing: {hook.uid}",
    ], "a possible cause of the others comes first"


def test_the_verdict_reports_stopped_monitoring(superuser: Client, heartbeats: None, hook: Subscription) -> None:
    detector.detect_if_due()
    assert "Monitoring has stopped" not in verdict(superuser)
    Heartbeat.objects.filter(name=detector.HEARTBEAT).update(at=timezone.now() - timedelta(minutes=5))
    assert verdict(superuser) == "Monitoring has stopped. Is a worker running?"


def test_users_without_permissions_see_no_data(
    unprivileged: Client, heartbeats: None, received: WebhookRequest
) -> None:
    Subscription.objects.update(name="Finance", state=State.FAILING)
    detector.detect()
    page = unprivileged.get(HOME).content.decode()
    assert "Finance" not in page
    assert "Plan.docx" not in page
    assert "<canvas" not in page


def test_renewals_are_ordered_by_time(superuser: Client, heartbeats: None, hook: Subscription) -> None:
    now = timezone.now()
    later = Subscription.objects.create(account=hook.account, renew_at=now + timedelta(hours=2), expires_at=now)
    Subscription.objects.filter(pk=hook.pk).update(renew_at=now + timedelta(hours=1), expires_at=now)
    Subscription.objects.create(account=hook.account, renew_at=now, present=False)
    assert [row.pk for row in superuser.get(HOME).context["renewals"]] == [hook.pk, later.pk]


def receive_requests(hook: Subscription, moment: datetime, count: int) -> None:
    for _ in range(count):
        request = store_request(hook, b"", received_at=moment)
        unique_bits = new_id().int & ((1 << 62) - 1)
        uid = type(request.uid)(int=first_id_at(moment).int | unique_bits)
        WebhookRequest.objects.filter(pk=request.pk).update(uid=uid)


def test_requests_per_hour(hook: Subscription) -> None:
    now = timezone.now().replace(minute=30)
    for hours, count in ((60, 1), (47, 2), (3, 4), (1, 3), (0, 1)):
        receive_requests(hook, now - timedelta(hours=hours), count)
    expected = {47: 2, 3: 4, 1: 3, 0: 1}
    for _ in range(2):  # the second time from the cache
        counts = [hour.count for hour in received_per_hour(now, 48)]
        assert counts == [expected.get(47 - index, 0) for index in range(48)]
    receive_requests(hook, now, 2)
    assert received_per_hour(now, 48)[-1].count == 3


def test_hours_without_requests_count_zero(db: None) -> None:
    assert [hour.count for hour in received_per_hour(timezone.now(), 48)] == [0] * 48


def test_the_number_of_queries_is_bounded(
    superuser: Client, heartbeats: None, hook: Subscription, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    store_request(hook, body_of(*({"id": number, "type": "made"} for number in range(30))))
    normalize_pending()
    superuser.get(HOME)
    assert Event.objects.count() == 30
    with django_assert_max_num_queries(25 + 48):  # one lookup per hour, each cached once later requests exist
        superuser.get(HOME)
