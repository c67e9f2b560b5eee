"""The home page: what it says when all is well, when it is not, and at the very beginning."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from events.arrival import first_id_at
from events.hourly import received_per_hour
from events.models import Event, WebhookRequest
from events.pipeline import normalise_pending
from providers.ids import new_id
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Heartbeat, State, Subscription
from tests.fake_provider import body_of, keep

HOME = "/admin/"


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    cache.clear()


@pytest.fixture
def alive(db: None) -> None:
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")


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
    Subscription.objects.update(state=state, state_reason="The provider says no.", name="Finance")
    response = boss.get(HOME)
    assert f"First: Finance, {state.label.lower()}." in response.context["verdict"].text
    assert response.context["verdict"].link == f"/admin/subscriptions/subscription/{hook.pk}/change/"
    assert "The provider says no." in response.content.decode()


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISABLED, State.MANUAL, State.PENDING, State.DELETED])
def test_what_is_as_it_should_be_is_no_trouble(boss: Client, alive: None, hook: Subscription, state: State) -> None:
    Subscription.objects.update(state=state)
    assert boss.get(HOME).context["concerns"] == []


def test_stuck_on_the_way_is_trouble(boss: Client, alive: None, hook: Subscription) -> None:
    long_ago = timezone.now() - timedelta(minutes=10)
    Subscription.objects.update(state=State.DELETING, failures=3, created_at=long_ago)
    assert [item.state for item in boss.get(HOME).context["concerns"]] == [State.DELETING]


def test_failing_accounts_and_waiting_requests_are_named(boss: Client, alive: None, hook: Subscription) -> None:
    ProviderAccount.objects.update(status=AccountStatus.FAILING, status_reason="Get a new token.")
    keep(hook, b"{}", headers=())
    keep(hook, b"no json")
    normalise_pending()
    page = boss.get(HOME).content.decode()
    assert "Get a new token." in page
    assert "1 rejected request<" in page
    assert "1 quarantined request<" in page
    assert "?outcome=quarantined" in page


def test_a_silent_worker_is_the_worst(boss: Client, alive: None, hook: Subscription) -> None:
    Heartbeat.objects.filter(name="worker").update(at=timezone.now() - timedelta(minutes=5))
    assert verdict(boss) == "Nothing is being renewed: no sign of life from the worker."


def test_nobody_sees_more_than_they_may(nobody: Client, alive: None, received: WebhookRequest) -> None:
    Subscription.objects.update(name="Finance", state=State.FAILING)
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
        request = keep(hook, b"", received_at=moment)
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
    keep(hook, body_of(*({"id": number, "type": "made"} for number in range(30))))
    normalise_pending()
    boss.get(HOME)
    assert Event.objects.count() == 30
    with django_assert_max_num_queries(25 + 48):  # one look-up an hour, each remembered once something came since
        boss.get(HOME)
