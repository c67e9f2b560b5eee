"""The whole life of a subscription over HTTP, at each provider, within the capabilities of its API.

A program with an API token and the provider see nothing else of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from config.models import ApiToken
from events.processing import normalize
from providers.contract.capabilities import Capabilities, Proof
from providers.contract.registry import all_providers
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.models import Subscription
from subscriptions.reconciliation import planning_input
from subscriptions.reconciliation.sweep import sweep_inline
from tests.harness.fixtures import Control
from tests.harness.provider_contract import contract_of

pytestmark = pytest.mark.django_db(transaction=True)

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


def plan(service: Service, path: str) -> list[Row]:
    return list(service.call("GET", f"{path}plan/", status=200)["steps"])


@pytest.fixture
def service(settings: Settings, live_server: LiveServer) -> Service:
    settings.PUBLIC_URL = live_server.url
    return Service(live_server.url, ApiToken.issue("another service")[1])


class Life:
    """One subscription at one provider."""

    def __init__(self, slug: str, service: Service, sandbox: Sandbox) -> None:
        self.slug, self.service = slug, service
        self.can: Capabilities = all_providers()[slug].capabilities
        self.contract = contract_of(slug)
        self.control = Control(sandbox.url, slug)
        if self.contract.sandbox_options:
            self.control.post("options", **self.contract.sandbox_options)
        self.login = sandbox.logins(slug)[0]
        self.path = ""
        self.account = ""

    def current(self) -> dict[str, Any]:
        return dict(self.service.call("GET", self.path, status=200))

    def remotes(self) -> list[dict[str, Any]]:
        return self.control.remotes()

    def operations(self) -> list[str]:
        operations = self.service.call("GET", f"{self.path}operations/", status=200)["results"]
        return [operation["action"] for operation in reversed(operations)]

    def assert_settled(self) -> None:
        """Wait until the subscription is active, and check that its remote subscription is the only one and enabled."""
        seen = self.service.until(self.path, lambda row: row["state"] == "active" and not plan(self.service, self.path))
        assert [(remote["remote_id"], remote["enabled"]) for remote in self.remotes()] == [(seen["remote_id"], True)]

    # -- Stages of its life --------------------------------------------------------------------------------------------

    def check_registration(self) -> None:
        fields = all_providers()[self.slug].settings_model.model_fields
        pace = {"calls_per_second": 100} if "calls_per_second" in fields else {}
        body = {
            "provider": self.slug,
            "name": "Life",
            "settings": {**self.login["settings"], **pace},
            "credentials": {name: f"wrong-{value}" for name, value in self.login["credentials"].items()},
        }
        self.account = f"/accounts/{self.service.call('POST', '/accounts/', body, status=201)['id']}/"
        assert self.service.call("POST", f"{self.account}check/", status=200)["status"] == "failing"
        self.service.call("PATCH", self.account, {"credentials": self.login["credentials"]}, status=200)
        checked = self.service.call("POST", f"{self.account}check/", status=200)
        assert checked["status"] == "ok", checked
        assert bool(checked["identity"]) or not self.can.can_identify
        body = {"account": checked["id"], "config": dict(self.contract.config), "name": "Life"}
        created = self.service.call("POST", "/subscriptions/", body, status=201)
        self.path = f"/subscriptions/{created['id']}/"
        assert created["state"] == "active", created
        self.assert_settled()
        assert self.operations() == ["register"]

    def check_event(self, feed: str) -> str:
        """Check that an event arrives. Return the URL at which the feed continues."""
        deliveries = self.control.post("emit", count=1)["deliveries"]
        assert [delivery["status"] for delivery in deliveries] == [200]
        page = self.service.until(feed, lambda seen: bool(seen["results"]))
        (event,) = page["results"]
        assert event["provider"] == self.slug
        request = self.service.call("GET", f"/requests/{event['request']}/", status=200)
        assert request["outcome"] == "processed"
        assert request["verification"] == "verified"
        assert request["events"] == [event["id"]]
        assert self.current()["last_event_at"] == request["received_at"]
        secret = self.service.call("POST", f"{self.path}secret/", status=200)["value"]
        assert secret is None or secret not in str(request)
        return str(page["next"])

    def check_renewal(self) -> None:
        before = self.current()
        if before["expires_at"] is None:
            assert before["renew_at"] is None
            return
        time.sleep(1.1)  # some providers count whole seconds
        self.control.post("clock", advance_seconds=70)
        self.service.until(self.path, lambda row: row["expires_at"] > before["expires_at"])
        self.assert_settled()
        assert {"renew", "replace"} & set(self.operations())

    def check_expired_lease(self) -> None:
        if self.current()["expires_at"] is None:
            return
        self.control.post("clock", advance_seconds=500)
        work()
        self.assert_settled()

    def check_repair_after_disabling(self) -> None:
        if not (self.can.can_set_status or self.can.update_may_enable):
            return
        before = len(self.operations())
        self.control.post(f"remote/{self.current()['remote_id']}", status="disabled")
        self.service.until(self.path, lambda _: len(self.operations()) > before)
        self.assert_settled()

    def check_repair_after_deletion(self) -> None:
        deleted = self.current()["remote_id"]
        self.control.post(f"remote/{deleted}", deleted=True)
        assert plan(self.service, self.path) == []  # its absence is doubted first
        self.service.until(self.path, lambda row: row["remote_id"] != deleted)
        self.assert_settled()

    def check_reverted_drift(self) -> None:
        before = len(self.operations())
        other = {
            name: value
            for name, value in self.contract.other_config.items()
            if name not in self.can.immutable_fields  # they cannot be changed in place
        }
        self.control.post(f"remote/{self.current()['remote_id']}", config=other)
        assert plan(self.service, self.path)[0]["changes"]
        self.service.until(self.path, lambda _: len(self.operations()) > before)
        self.assert_settled()
        assert {"update", "replace"} & set(self.operations()[before:])

    def check_config_changes(self) -> None:
        for config in (self.contract.other_config, self.contract.config):
            changed = self.service.call("PATCH", self.path, {"config": dict(config)}, status=200)
            assert (changed["state"], changed["last_error"]) == ("active", None), changed
            self.assert_settled()

    def check_secret_rotation(self, feed: str) -> str:
        """Rotate the secret where that is supported. Return the URL at which the feed continues."""
        before = self.service.call("POST", f"{self.path}secret/", status=200)["value"]
        if self.can.proof is Proof.URL:
            refused = self.service.call("POST", f"{self.path}rotate-secret/", status=409)
            assert refused["code"] == "not_supported"
            return feed
        rotated = self.service.call("POST", f"{self.path}rotate-secret/", status=200)
        assert (rotated["state"], rotated["last_error"]) == ("active", None), rotated
        assert rotated["secret_rotation"]["set_at"]
        assert rotated["secret_rotation"]["old_accepted"]
        self.assert_settled()
        after = self.service.call("POST", f"{self.path}secret/", status=200)["value"]
        assert after != before
        feed = self.check_event(feed)
        self.service.until(self.path, lambda row: row["secret_rotation"] is None)
        (remaining,) = Subscription.objects.get(uid=rotated["id"]).secrets
        assert remaining == after
        assert self.control.post("emit", count=1, bad_signature=True)["deliveries"][0]["status"] == 401
        return self.check_event(feed)

    def check_disabling_and_enabling(self) -> None:
        assert self.service.call("POST", f"{self.path}disable/", status=200)["state"] == "disabled"
        work()
        assert [remote for remote in self.remotes() if remote["enabled"]] == []
        assert self.current()["state"] == "disabled"
        assert self.service.call("POST", f"{self.path}enable/", status=200)["state"] == "active"
        self.assert_settled()

    def check_test_webhook(self) -> None:
        result = self.service.call("POST", f"{self.path}test/", status=200)
        assert result["ok"], result
        assert result["detail"]

    def check_deletion(self) -> None:
        assert self.service.call("DELETE", self.account, status=409)["code"] == "account_in_use"
        assert self.service.call("DELETE", self.path, status=202)["state"] == "deleted"
        assert self.remotes() == []
        assert self.current()["state"] == "deleted"
        assert self.service.call("GET", "/subscriptions/", status=200)["results"] == []
        assert plan(self.service, self.path) == []
        self.service.call("DELETE", self.account, status=204)
        self.service.call("GET", self.account, status=404)


@pytest.mark.slow
@pytest.mark.parametrize("slug", all_providers())
def test_whole_life_of_a_subscription(
    slug: str, service: Service, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning_input, "MAX_LAG", timedelta(seconds=0.5))
    monkeypatch.setattr(planning_input, "FIRST_DOUBT", timedelta(seconds=0.5))
    life = Life(slug, service, sandbox)
    page = service.call("GET", "/events/?order=feed", status=200)
    assert page["results"] == []
    feed = page["next"]
    life.check_registration()
    feed = life.check_event(feed)
    life.check_renewal()
    life.check_repair_after_disabling()
    life.check_repair_after_deletion()
    life.check_reverted_drift()
    life.check_config_changes()
    feed = life.check_secret_rotation(feed)
    life.check_disabling_and_enabling()
    life.check_expired_lease()
    life.check_event(feed)
    life.check_test_webhook()
    life.check_deletion()
