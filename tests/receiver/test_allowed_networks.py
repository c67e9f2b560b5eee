"""A subscription that takes calls from some networks only: through both doors, in the API and on the pages."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from events.models import Event, Outcome, WebhookRequest
from events.processing import reprocess
from events.receiver.subscription_cache import receivable_subscriptions
from providers.contract.capabilities import Proof
from providers.models import HistoryEntry
from subscriptions.lifecycle import desired_state, ip_allowlist
from subscriptions.models import Subscription
from tests.admin.conftest import boss
from tests.admin.test_silence import TYPED, page_of
from tests.api.conftest import Api, active, api, path
from tests.harness.fake_provider import SECRET, FakeProvider, body_of

__all__ = ["active", "api", "boss", "path"]  # fixtures

pytestmark = pytest.mark.django_db

BODY = body_of({"id": 1, "type": "made"})


def allow(subscription: Subscription, *allowed: str) -> None:
    desired_state.set_allowed_networks(subscription, by="staff:ann", allowed_networks=allowed)


def post(hook_client: Client, subscription: Subscription, secret: str = SECRET, **extra: Any) -> int:
    headers = {"X-Secret": secret, **extra.pop("headers", {})}
    path = f"/hooks/{subscription.token}"
    status: int = hook_client.generic("POST", path, BODY, headers=headers, **extra).status_code
    return status


# -- What is a network -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "allowed", "taken"),
    [
        ("192.0.2.1", [], True),
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.3.1", ["192.0.2.0/24"], False),
        ("192.0.3.1", ["192.0.2.0/24", "192.0.3.1"], True),
        ("fd00::5", ["192.0.2.0/24", "fd00::/8"], True),
        ("2001:db8::5", ["fd00::/8"], False),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("::ffff:192.0.3.1", ["192.0.2.0/24"], False),
        ("::ffff:192.0.2.1", ["::ffff:0:0/96"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("a socket", ["0.0.0.0/0"], False),
    ],
)
def test_which_addresses_belong(address: str, allowed: list[str], taken: bool) -> None:
    why = ip_allowlist.rejection_reason(address, ip_allowlist.load_networks(ip_allowlist.normalize_networks(allowed)))
    assert (why == "") is taken
    assert taken or (address or "an unknown address") in why


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "is no network"),
        ("example.com", "is no network"),
        ("192.0.2.0/33", "is no network"),
        ("300.0.0.0/8", "is no network"),
        ("192.0.2.1/24", "the network there is 192.0.2.0/24"),
        ("fd00::1/8", "the network there is fd00::/8"),
    ],
)
def test_what_is_no_network_is_said(written: str, said: str) -> None:
    with pytest.raises(ip_allowlist.InvalidNetwork, match=said):
        ip_allowlist.normalize_networks([written])


def test_they_are_stored_once_and_in_one_notation() -> None:
    stored = ip_allowlist.normalize_networks(["192.0.2.0/255.255.255.0", " 192.0.2.0/24", "FD00::/8", "192.0.2.9"])
    assert stored == ["192.0.2.0/24", "fd00::/8", "192.0.2.9/32"]
    with pytest.raises(ip_allowlist.InvalidNetwork, match="At most"):
        ip_allowlist.normalize_networks([f"10.0.{number}.0/24" for number in range(ip_allowlist.MAX_NETWORKS + 1)])


# -- At the doors ------------------------------------------------------------------------------------------------------


def test_a_call_from_elsewhere_is_401_kept_and_released_later(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24", "fd00::/8")
    assert post(hook_client, hook, REMOTE_ADDR="192.0.2.7") == 200
    assert post(hook_client, hook, REMOTE_ADDR="fd00::7") == 200
    assert post(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    request = WebhookRequest.objects.latest("pk")
    assert (request.outcome, request.verification, request.remote_addr) == ("rejected", "verified", "203.0.113.7")
    assert "203.0.113.7, which is in none" in request.reason
    assert dict(request.headers)["X-Secret"] == "***"
    assert SECRET in request.sealed_headers.values()  # it is verified again before it is released
    assert reprocess.reprocess_request(request).outcome == Outcome.REJECTED
    assert not Event.objects.exists()
    allow(hook, "192.0.2.0/24", "203.0.113.0/24")
    released = reprocess.reprocess_request(request)
    assert (released.outcome, released.verification, released.reason) == (Outcome.PROCESSED, "verified", "")
    assert SECRET not in released.sealed_headers.values()
    assert Event.objects.count() == 1


def test_a_wrong_secret_from_elsewhere_says_both(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24")
    assert post(hook_client, hook, "wrong", REMOTE_ADDR="203.0.113.7") == 401
    request = WebhookRequest.objects.get()
    assert request.verification == "failed"
    assert "203.0.113.7" in request.reason
    assert request.reason.endswith(request.verification_detail)
    Subscription.objects.filter(pk=hook.pk).update(secrets=["wrong"])
    again = reprocess.reprocess_request(request)
    assert (again.outcome, again.verification) == (Outcome.REJECTED, "verified")
    assert again.reason.startswith("It came from 203.0.113.7")
    allow(hook)
    assert reprocess.reprocess_request(request).outcome == Outcome.PROCESSED


def test_where_nothing_can_be_proved_the_address_still_counts(
    hook_client: Client, hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.declare(proof=Proof.URL)
    allow(hook, "192.0.2.0/24")
    assert post(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    assert WebhookRequest.objects.get().verification == "not_verifiable"


def test_a_head_from_elsewhere_tells_only_that_the_address_exists(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24")
    assert hook_client.head(f"/hooks/{hook.token}", REMOTE_ADDR="203.0.113.7").status_code == 200
    assert not WebhookRequest.objects.exists()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        ((), "192.0.2.7", 401),  # anybody could say so
        (("10.0.0.0/8",), "192.0.2.7", 401),
        (("127.0.0.0/8",), "192.0.2.7", 200),
        (("127.0.0.0/8",), "192.0.2.7, 203.0.113.7", 401),
        (("127.0.0.0/8",), "made-up", 401),
    ],
)
def test_behind_a_proxy_the_client_counts_if_the_proxy_is_trusted(
    hook_client: Client, hook: Subscription, settings: Settings, proxies: tuple[str, ...], forwarded: str, status: int
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(item) for item in proxies)
    allow(hook, "192.0.2.0/24")
    assert post(hook_client, hook, headers={"X-Forwarded-For": forwarded}) == status


@pytest.mark.django_db(transaction=True)
def test_nothing_is_refused_by_a_list_that_was_just_changed(
    hook_client: Client, hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(hook, "192.0.2.0/24")
    assert post(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    # The thread would read on its own only much later.
    monkeypatch.setattr("events.receiver.subscription_cache.REFRESH_SECONDS", 60.0)
    assert receivable_subscriptions.refresh()
    allow(hook, "203.0.113.0/24")
    assert post(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 200


# -- In the API --------------------------------------------------------------------------------------------------------


def test_set_changed_and_taken_away_by_the_api(api: Api, path: str, active: Subscription) -> None:
    before = api.get(path)
    assert before.json["allowed_networks"] == []
    generation = active.generation
    changed = api.patch(path, {"allowed_networks": ["192.0.2.0/24", "192.0.2.9", "192.0.2.0/24"]})
    assert (changed.status, changed.json["allowed_networks"]) == (200, ["192.0.2.0/24", "192.0.2.9/32"])
    assert changed.headers["ETag"] != before.headers["ETag"]
    entry = HistoryEntry.objects.filter(action="changed").latest("pk")
    assert entry.actor.startswith("api:")
    assert entry.changes == [{"field": "allowed_networks", "from": [], "to": ["192.0.2.0/24", "192.0.2.9/32"]}]
    active.refresh_from_db()
    assert active.generation == generation  # nothing of it concerns the provider
    assert api.patch(path, {"name": "Another"}).json["allowed_networks"] == ["192.0.2.0/24", "192.0.2.9/32"]
    assert api.patch(path, {"allowed_networks": []}).json["allowed_networks"] == []
    count = HistoryEntry.objects.count()
    api.patch(path, {"allowed_networks": []})
    assert HistoryEntry.objects.count() == count


def test_set_when_it_is_made(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    body = {"account": str(hook.account.uid), "config": {}, "managed": "manual", "allowed_networks": ["fd00::/8"]}
    made = api.post("/subscriptions/", body)
    assert (made.status, made.json["allowed_networks"]) == (201, ["fd00::/8"])


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (["192.0.2.0/24", "here"], "allowed_networks.1"),
        (["192.0.2.1/24"], "allowed_networks.0"),
        ([5], "allowed_networks.0"),
        ([""], "allowed_networks.0"),
        ("192.0.2.0/24", "allowed_networks"),
        (None, "allowed_networks"),
        ([f"10.0.{number}.0/24" for number in range(101)], "allowed_networks"),
    ],
)
def test_the_api_names_what_is_no_network(api: Api, path: str, value: object, field: str) -> None:
    answer = api.patch(path, {"allowed_networks": value})
    assert (answer.status, list(answer.fields())) == (400, [field])


# -- On the pages ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("receiver_answers")
def test_set_shown_and_refused_on_the_pages(boss: Client, subscription: Subscription) -> None:
    edit = page_of("edit", subscription)
    typed = {**TYPED, "allowed_networks": "192.0.2.0/24\r\n fd00::/8, 10.1.2.3\r\n"}
    shown = boss.post(edit, typed, follow=True).content.decode()
    subscription.refresh_from_db()
    assert subscription.allowed_networks == ["192.0.2.0/24", "fd00::/8", "10.1.2.3/32"]
    assert "192.0.2.0/24" in shown
    assert "192.0.2.0/24\nfd00::/8\n10.1.2.3/32</textarea>" in boss.get(edit).content.decode()
    entry = HistoryEntry.objects.filter(action="changed").latest("pk")
    assert entry.actor == "staff:ann"
    wrong = boss.post(edit, {**TYPED, "allowed_networks": "192.0.2.1/24"})
    assert "the network there is 192.0.2.0/24" in wrong.context["form"].errors["allowed_networks"][0]
    boss.post(edit, TYPED)
    subscription.refresh_from_db()
    assert subscription.allowed_networks == []
    assert (
        "everywhere"
        in boss.get(reverse("admin:subscriptions_subscription_change", args=[subscription.pk])).content.decode()
    )
