"""Allowed networks of a subscription in the API."""

from __future__ import annotations

import pytest

from events.models import WebhookRequest
from providers.models import HistoryEntry
from subscriptions.models import Subscription
from tests.api.conftest import Api
from tests.harness.fake_provider import FakeProvider, store_request

pytestmark = pytest.mark.django_db


@pytest.mark.slow
def test_networks_are_changed_in_the_api(api: Api, path: str, active: Subscription) -> None:
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
    assert active.generation == generation  # the provider does not know the networks
    assert api.patch(path, {"name": "Another"}).json["allowed_networks"] == ["192.0.2.0/24", "192.0.2.9/32"]
    assert api.patch(path, {"allowed_networks": []}).json["allowed_networks"] == []
    count = HistoryEntry.objects.count()
    api.patch(path, {"allowed_networks": []})
    assert HistoryEntry.objects.count() == count


def test_networks_are_set_when_a_subscription_is_created(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    body = {"account": str(hook.account.uid), "config": {}, "managed": "manual", "allowed_networks": ["fd00::/8"]}
    created = api.post("/subscriptions/", body)
    assert (created.status, created.json["allowed_networks"]) == (201, ["fd00::/8"])


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
def test_api_names_the_invalid_network(api: Api, path: str, value: object, field: str) -> None:
    response = api.patch(path, {"allowed_networks": value})
    assert (response.status, list(response.fields())) == (400, [field])


def test_networks_that_block_known_senders_need_a_confirmation(api: Api, path: str, active: Subscription) -> None:
    store_request(active, b"{}")
    WebhookRequest.objects.update(outcome="processed")  # it came from 192.0.2.1
    refused = api.patch(path, {"allowed_networks": ["10.0.0.0/8"]})
    assert (refused.status, refused.json["code"]) == (409, "would_block_senders")
    assert "1 from 192.0.2.1" in refused.json["detail"]
    assert api.get(path).json["allowed_networks"] == []
    assert api.patch(path, {"allowed_networks": ["192.0.2.0/24"]}).status == 200
    assert api.patch(path, {"allowed_networks": ["10.0.0.0/8"], "block_senders": True}).status == 200
