"""Leases, and changes made at the provider by others."""

from __future__ import annotations

import time

import pytest

from providers.sandbox.server import Sandbox
from tests.harness.stub_server import StubServer
from tests.sandbox.client import SLUG, Client


def test_an_expired_webhook_stays_listed(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    client.control("clock", advance_seconds=100)
    (listed,) = client.call("GET", "/webhooks").json()
    assert listed["webhookId"] == remote_id
    assert -12 < listed["expires"] - time.time() < -8
    assert listed["status"] == "enabled"
    assert client.emit() == []
    assert receiver.received == []


def test_an_update_extends_the_lease_unless_the_option_is_off(client: Client, receiver: StubServer) -> None:
    url = f"{receiver.url}/hooks/t"
    remote_id = client.register(url)
    client.control("clock", advance_seconds=100)
    client.control("options", update_extends=False)
    client.call("PUT", f"/webhooks/{remote_id}", {"url": url})
    assert client.details(remote_id)["expires"] < time.time()
    client.control("options", update_extends=True, lease_seconds=500)
    client.call("PUT", f"/webhooks/{remote_id}", {"url": url})
    assert 490 < client.details(remote_id)["expires"] - time.time() <= 500
    assert len(client.emit()) == 1


def test_the_lease_length_is_configurable() -> None:
    with Sandbox(lease_seconds=7) as sandbox, Client(sandbox).session as session:
        client = Client(sandbox)
        client.session = session
        assert 5 < client.details(client.register())["expires"] - time.time() <= 7


def test_a_remote_change_disables_and_enables_a_webhook(client: Client) -> None:
    remote_id = client.register()
    changed = client.control(f"remote/{remote_id}", status="disabled")
    assert changed["remote_id"] == changed["webhookId"] == remote_id
    assert (changed["status"], changed["enabled"], changed["login"]) == ("disabled", False, "spare")
    assert client.call("GET", f"/webhooks/{remote_id}/status").json()["status"] == "disabled"
    assert client.control(f"remote/{remote_id}", status="enabled")["status"] == "enabled"


def test_a_remote_change_deletes_a_webhook(client: Client) -> None:
    remote_id = client.register()
    assert client.control(f"remote/{remote_id}", deleted=True) == {"deleted": True}
    assert client.call("GET", f"/webhooks/{remote_id}/details").status_code == 404


def test_a_remote_change_accepts_field_names_of_provider_and_plug_in(client: Client) -> None:
    remote_id = client.register(path="/Shared/A")
    before = client.details(remote_id)
    client.control(f"remote/{remote_id}", config={"eventType": ["fs:*"]})
    assert client.details(remote_id) == {**before, "eventType": ["fs:*"]}
    client.control(
        f"remote/{remote_id}",
        config={
            "event_types": [],
            "paths": ["/B", "/C"],
            "callback_url": "https://new.example.test/",
            "authHeader": "x",
        },
    )
    after = {**before, "eventType": None, "path": "/B,/C", "url": "https://new.example.test/", "authHeader": "x"}
    assert client.details(remote_id) == after
    client.control(f"remote/{remote_id}", config={"paths": []})
    assert client.details(remote_id)["path"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "status"),
        ({"status": "paused"}, "status"),
        ({"config": {"no_such": 1}}, "config.no_such"),
        ({"config": {"url": "nonsense"}}, "config.url"),
        ({"config": {"paths": ["no slash"]}}, "config.path"),
        ({"deleted": "yes"}, "deleted"),
    ],
)
def test_an_invalid_remote_change_is_400(client: Client, change: dict[str, object], field: str) -> None:
    remote_id = client.register()
    before = client.details(remote_id)
    response = client.raw("POST", f"{SLUG}/remote/{remote_id}", change)
    assert response.status_code == 400
    assert response.json()["error"].startswith(field)
    assert client.details(remote_id) == before
