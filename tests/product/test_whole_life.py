"""The whole life of a subscription over HTTP, as a program with an API token and the provider see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from config.models import ApiToken
from events.processing import normalize
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.reconciliation.sweep import sweep_inline
from tests.harness.fixtures import Control

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = {"event_types": ["fs:*"], "paths": ["/Shared"]}
Row = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """Another service that uses the REST API. While it waits, the worker's tasks run."""

    url: str
    token: str

    def call(self, method: str, path: str, body: object = None, *, status: int) -> Any:
        response = requests.request(
            method,
            path if path.startswith("http") else f"{self.url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=20,
            allow_redirects=False,
        )
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def until(self, path: str, holds: Callable[[Any], bool], *, seconds: float = 60) -> Any:
        """Repeat a GET, and the worker's tasks, until the condition holds. Return the response."""
        deadline = time.monotonic() + seconds
        while not holds(seen := self.call("GET", path, status=200)):
            assert time.monotonic() < deadline, seen
            work()
            time.sleep(0.05)
        return seen


def work() -> None:
    """Run the worker's tasks, with all accounts due for a sync."""
    ProviderAccount.objects.update(sync_due_at=timezone.now())
    sweep_inline()
    normalize.normalize_pending()


@pytest.fixture
def service(settings: Settings, live_server: LiveServer) -> Service:
    settings.PUBLIC_URL = live_server.url
    return Service(live_server.url, ApiToken.issue("another service")[1])


def test_whole_life_of_a_subscription(service: Service, sandbox: Sandbox, control: Control) -> None:
    account = add_account(service, sandbox)
    path = subscribe(service, account, control)
    feed = check_first_event(service, path, control)
    check_renewal(service, path, control)
    check_repair_after_disabling(service, path, control)
    check_repair_after_deletion(service, path, control)
    check_reverted_drift(service, path, control)
    check_changes_and_disabling(service, path, control)
    assert len(receive_another_event(service, feed, control)) == 1
    check_deletion(service, account, path, control)


def add_account(service: Service, sandbox: Sandbox) -> str:
    login = sandbox.logins("egnyte-connect")[0]
    body = {
        "provider": "egnyte-connect",
        "name": "Acme",
        "settings": {**login["settings"], "calls_per_second": 100},
        "credentials": {"access_token": "a-wrong-one"},
    }
    account = service.call("POST", "/accounts/", body, status=201)
    path = f"/accounts/{account['id']}/"
    assert service.call("POST", f"{path}check/", status=200)["status"] == "failing"
    service.call("PATCH", path, {"credentials": login["credentials"]}, status=200)
    checked = service.call("POST", f"{path}check/", status=200)
    assert checked["status"] == "ok", checked
    assert checked["identity"]
    return str(account["id"])


def subscribe(service: Service, account: str, control: Control) -> str:
    """Try a config that we refuse, one that the provider refuses, and a valid one. Return the subscription's path."""
    refused_by_us = {"event_types": ["fs:*"], "paths": ["/Shared/a,b"]}
    problem = service.call("POST", "/subscriptions/", {"account": account, "config": refused_by_us}, status=400)
    assert [error["field"] for error in problem["errors"]] == ["config.paths.0"]
    refused_by_provider = {"event_types": ["fs:nonsense"]}
    body = {"account": account, "config": refused_by_provider}
    created = service.call("POST", "/subscriptions/", body, status=201)
    assert (created["state"], created["last_error"]["code"]) == ("failing", "refused")
    assert created["last_error"]["field"].startswith("event_types")
    assert control.remotes() == []
    path = f"/subscriptions/{created['id']}/"
    changed = service.call("PATCH", path, {"config": CONFIG}, status=200)
    assert (changed["state"], changed["last_error"]) == ("active", None), changed
    return path


def check_first_event(service: Service, path: str, control: Control) -> str:
    """Check that an event arrives. Return the URL at which the feed continues."""
    feed = service.call("GET", "/events/?order=feed", status=200)
    assert feed["results"] == []
    (delivery,) = control.post("emit", event_type="fs:add_file")["deliveries"]
    assert delivery["status"] == 200
    page = service.until(feed["next"], lambda seen: bool(seen["results"]))
    (event,) = page["results"]
    assert (event["type"], event["action"], event["provider"]) == ("fs:add_file", "created", "egnyte-connect")
    assert event["provider_event_id"] in delivery["event_ids"]
    request = service.call("GET", f"/requests/{event['request']}/", status=200)
    assert (request["outcome"], request["verification"]) == ("processed", "verified")
    assert request["events"] == [event["id"]]
    secret = service.call("POST", f"{path}secret/", status=200)["value"]
    assert secret not in str(request)
    assert service.call("GET", path, status=200)["last_event_at"] == request["received_at"]
    return str(page["next"])


def check_renewal(service: Service, path: str, control: Control) -> None:
    before = service.call("GET", path, status=200)
    time.sleep(1.1)  # the provider counts whole seconds
    control.post("clock", advance_seconds=70)
    after = service.until(path, lambda seen: seen["expires_at"] > before["expires_at"])
    assert after["state"] == "active"
    operations = service.call("GET", f"{path}operations/", status=200)["results"]
    assert {"renew", "replace"} & {operation["action"] for operation in operations}
    (remote,) = control.remotes()
    assert remote["webhookId"] == after["remote_id"]


def check_repair_after_disabling(service: Service, path: str, control: Control) -> None:
    (remote,) = control.remotes()
    control.post(f"remote/{remote['webhookId']}", status="disabled")
    assert [step["action"] for step in plan(service, path)] == ["enable"]
    service.until(path, lambda seen: control.remotes()[0]["status"] == "enabled" and seen["state"] == "active")


def check_repair_after_deletion(service: Service, path: str, control: Control) -> None:
    (old,) = control.remotes()
    control.post(f"remote/{old['webhookId']}", deleted=True)
    assert [step["action"] for step in plan(service, path)] == ["register"]
    service.until(path, lambda seen: seen["state"] == "active" and seen["remote_id"] != old["webhookId"])
    assert len(control.remotes()) == 1


def check_reverted_drift(service: Service, path: str, control: Control) -> None:
    (remote,) = control.remotes()
    control.post(f"remote/{remote['webhookId']}", config={"paths": ["/Private"]})
    (step,) = plan(service, path)
    assert step["changes"] == [{"field": "paths", "from": ["/Private"], "to": ["/Shared"]}]
    service.until(path, lambda seen: control.remotes()[0]["path"] == "/Shared" and seen["state"] == "active")


def check_changes_and_disabling(service: Service, path: str, control: Control) -> None:
    changed = service.call("PATCH", path, {"config": {"event_types": ["fs:*", "link:*"]}}, status=200)
    assert changed["state"] == "active"
    assert sorted(control.remotes()[0]["eventType"]) == ["fs:*", "link:*"]
    assert service.call("POST", f"{path}disable/", status=200)["state"] == "disabled"
    assert control.remotes()[0]["status"] == "disabled"
    work()
    assert service.call("GET", path, status=200)["state"] == "disabled"
    assert service.call("POST", f"{path}enable/", status=200)["state"] == "active"


def receive_another_event(service: Service, feed: str, control: Control) -> list[Row]:
    control.post("emit", event_type="link:create")
    page = service.until(feed, lambda seen: bool(seen["results"]))
    return list(page["results"])


def check_deletion(service: Service, account: str, path: str, control: Control) -> None:
    problem = service.call("DELETE", f"/accounts/{account}/", status=409)
    assert problem["code"] == "account_in_use"
    assert service.call("DELETE", path, status=202)["state"] == "deleted"
    assert control.remotes() == []
    assert service.call("GET", path, status=200)["state"] == "deleted"
    assert service.call("GET", "/subscriptions/", status=200)["results"] == []
    assert plan(service, path) == []


def plan(service: Service, path: str) -> list[Row]:
    return list(service.call("GET", f"{path}plan/", status=200)["steps"])
