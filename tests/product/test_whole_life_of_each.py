"""The whole life of a subscription, over HTTP only, at each provider: what its API allows happens, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from config.models import ApiToken
from providers.contract.capabilities import Capabilities, Proof
from providers.contract.registry import all_providers
from providers.sandbox.server import Sandbox
from subscriptions.models import Subscription
from tests.harness.fixtures import Control
from tests.harness.provider_contract import contract_of
from tests.product.test_whole_life import Service, plan, work

pytestmark = pytest.mark.django_db(transaction=True)


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

    def now(self) -> dict[str, Any]:
        return dict(self.service.call("GET", self.path, status=200))

    def remotes(self) -> list[dict[str, Any]]:
        return self.control.remotes()

    def operations(self) -> list[str]:
        found = self.service.call("GET", f"{self.path}operations/", status=200)["results"]
        return [operation["action"] for operation in reversed(found)]

    def settled(self) -> None:
        """Active, with exactly one enabled remote subscription, which is the one that the row names."""
        seen = self.service.until(self.path, lambda row: row["state"] == "active" and not plan(self.service, self.path))
        assert [(remote["remote_id"], remote["enabled"]) for remote in self.remotes()] == [(seen["remote_id"], True)]

    # -- Its chapters ------------------------------------------------------------------------------------------------

    def begins(self) -> None:
        fields = all_providers()[self.slug].settings_model.model_fields
        pace = {"calls_per_second": 100} if "calls_per_second" in fields else {}
        body = {
            "provider": self.slug,
            "name": "Life",
            "settings": {**self.login["settings"], **pace},
            "credentials": self.login["credentials"],
        }
        self.account = f"/accounts/{self.service.call('POST', '/accounts/', body, status=201)['id']}/"
        checked = self.service.call("POST", f"{self.account}check/", status=200)
        assert checked["status"] == "ok", checked
        wish = {"account": checked["id"], "config": dict(self.contract.config), "name": "Life"}
        made = self.service.call("POST", "/subscriptions/", wish, status=201)
        self.path = f"/subscriptions/{made['id']}/"
        assert made["state"] == "active", made
        self.settled()
        assert self.operations() == ["register"]

    def sees_an_event(self, feed: str) -> str:
        """Returns where the feed goes on."""
        deliveries = self.control.post("emit", count=1)["deliveries"]
        assert [delivery["status"] for delivery in deliveries] == [200]
        page = self.service.until(feed, lambda seen: bool(seen["results"]))
        (event,) = page["results"]
        assert event["provider"] == self.slug
        request = self.service.call("GET", f"/requests/{event['request']}/", status=200)
        assert request["outcome"] == "processed"
        assert request["verification"] == "verified"
        return str(page["next"])

    def is_renewed(self) -> None:
        before = self.now()
        if before["expires_at"] is None:
            assert before["renew_at"] is None
            return
        time.sleep(1.1)  # some count whole seconds
        self.control.post("clock", advance_seconds=70)
        self.service.until(self.path, lambda row: row["expires_at"] > before["expires_at"])
        self.settled()
        assert {"renew", "replace"} & set(self.operations())

    def outlives_its_lease(self) -> None:
        if self.now()["expires_at"] is None:
            return
        self.control.post("clock", advance_seconds=500)
        work()
        self.settled()

    def comes_back_after_a_switch_off(self) -> None:
        if not (self.can.can_set_status or self.can.update_may_enable):
            return
        before = len(self.operations())
        self.control.post(f"remote/{self.now()['remote_id']}", status="disabled")
        self.service.until(self.path, lambda _: len(self.operations()) > before)
        self.settled()

    def comes_back_after_a_deletion(self) -> None:
        gone = self.now()["remote_id"]
        self.control.post(f"remote/{gone}", deleted=True)
        self.service.until(self.path, lambda row: row["remote_id"] != gone)
        self.settled()

    def puts_a_changed_config_back(self) -> None:
        before = len(self.operations())
        other = {
            name: value
            for name, value in self.contract.other_config.items()
            if name not in self.can.immutable_fields  # nobody can change those in place
        }
        self.control.post(f"remote/{self.now()['remote_id']}", config=other)
        assert plan(self.service, self.path)[0]["changes"]
        self.service.until(self.path, lambda _: len(self.operations()) > before)
        self.settled()
        assert {"update", "replace"} & set(self.operations()[before:])

    def changes(self) -> None:
        for config in (self.contract.other_config, self.contract.config):
            changed = self.service.call("PATCH", self.path, {"config": dict(config)}, status=200)
            assert (changed["state"], changed["last_error"]) == ("active", None), changed
            self.settled()

    def rotates_its_secret(self, feed: str) -> str:
        """Returns where the feed goes on."""
        before = self.service.call("POST", f"{self.path}secret/", status=200)["value"]
        if self.can.proof is Proof.URL:
            refused = self.service.call("POST", f"{self.path}rotate-secret/", status=409)
            assert refused["code"] == "not_supported"
            return feed
        rotated = self.service.call("POST", f"{self.path}rotate-secret/", status=200)
        assert (rotated["state"], rotated["last_error"]) == ("active", None), rotated
        assert rotated["secret_rotation"]["set_at"]
        assert rotated["secret_rotation"]["old_accepted"]
        self.settled()
        after = self.service.call("POST", f"{self.path}secret/", status=200)["value"]
        assert after != before
        feed = self.sees_an_event(feed)
        self.service.until(self.path, lambda row: row["secret_rotation"] is None)
        (kept,) = Subscription.objects.get(uid=rotated["id"]).secrets
        assert kept == after
        assert self.control.post("emit", count=1, bad_signature=True)["deliveries"][0]["status"] == 401
        return self.sees_an_event(feed)

    def is_switched_off_and_on(self) -> None:
        assert self.service.call("POST", f"{self.path}disable/", status=200)["state"] == "disabled"
        work()
        assert [remote for remote in self.remotes() if remote["enabled"]] == []
        assert self.now()["state"] == "disabled"
        assert self.service.call("POST", f"{self.path}enable/", status=200)["state"] == "active"
        self.settled()

    def is_tried_out(self) -> None:
        result = self.service.call("POST", f"{self.path}test/", status=200)
        assert result["ok"], result
        assert result["detail"]

    def ends(self) -> None:
        assert self.service.call("DELETE", self.path, status=202)["state"] == "deleted"
        assert self.remotes() == []
        self.service.call("DELETE", self.account, status=204)
        self.service.call("GET", self.account, status=404)


@pytest.mark.parametrize("slug", all_providers())
def test_from_nothing_to_the_first_event_and_away_again(slug: str, service: Service, sandbox: Sandbox) -> None:
    life = Life(slug, service, sandbox)
    feed = service.call("GET", "/events/?order=feed", status=200)["next"]
    life.begins()
    feed = life.sees_an_event(feed)
    life.is_renewed()
    life.comes_back_after_a_switch_off()
    life.comes_back_after_a_deletion()
    life.puts_a_changed_config_back()
    life.changes()
    feed = life.rotates_its_secret(feed)
    life.is_switched_off_and_on()
    life.outlives_its_lease()
    life.sees_an_event(feed)
    life.is_tried_out()
    life.ends()
