"""The product as a newcomer meets it: started by one command, left alone, then disturbed through the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import requests

from config.environment import BASE_DIR
from providers.contract.capabilities import Renewal
from providers.contract.registry import all_providers
from tests.product.test_up import MAX_STOP_SECONDS, Up, login

# All these tests use one running product, even if several processes share the tests.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("running_product")]


class Product:
    """A running product, through its REST API and its sandbox."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {self.token()}"

    def token(self) -> str:
        env = {
            **os.environ,
            "DATA_DIR": str(self.up.data_dir),
            "SECRET_KEY": "",
            "ENCRYPTION_KEYS": "",
            "DATABASE_URL": "",
        }
        command = [sys.executable, "manage.py", "create_api_token", "test"]
        result = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=60, check=True)
        return result.stdout.strip()

    def get(self, path: str, **params: str | int) -> Any:
        url = path if path.startswith("http") else f"http://127.0.0.1:{self.up.port}/api/v1/{path}"
        response = self.session.get(url, params=params, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def everything(self, path: str, **params: str | int) -> list[Any]:
        page = self.get(path, limit=250, **params)
        rows = list(page["results"])
        while page["next"]:
            page = self.get(page["next"])
            rows += page["results"]
        return rows

    @cached_property
    def demo(self) -> dict[str, Any]:
        """Return the newest demo subscription of each provider, by slug."""
        providers = {account["id"]: account["provider"] for account in self.everything("accounts/")}
        return {providers[row["account"]]: row for row in reversed(self.everything("subscriptions/"))}

    def control(self, slug: str, command: str, **body: object) -> Any:
        url = f"http://127.0.0.1:{self.up.sandbox_port}/_sandbox/{slug}/{command}"
        response = requests.post(url, json=body, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def settled(self, slug: str, expectation: str, holds: Callable[[Any], object] = lambda seen: True) -> Any:
        """Wait until the provider's subscription is active and the condition holds, both in one answer. Return it."""
        row = self.demo[slug]

        def is_settled() -> bool:
            row.update(self.get(f"subscriptions/{row['id']}/"))
            return bool(row["state"] == "active" and row["remote_id"] and holds(row))

        within(120, is_settled, f"{slug}: not {expectation} in time")
        return dict(row)

    def operations(self, subscription: str) -> list[str]:
        """Return the actions of the subscription's operations, oldest first."""
        return [item["action"] for item in reversed(self.everything(f"subscriptions/{subscription}/operations/"))]


def within(seconds: float, condition: Callable[[], object], message: str) -> None:
    """Wait until the condition holds. Fail with the message if that takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.3)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    data_dir: Path = tmp_path_factory.mktemp("product") / "data"
    data_dir.mkdir()
    up = Up(data_dir, {"DEMO": "1", "ADMIN_PASSWORD": "correct horse"}).start().wait_ready()
    yield Product(up)
    assert up.stop() < MAX_STOP_SECONDS
    assert up.processes() == {}


def test_everything_becomes_healthy_without_intervention(product: Product) -> None:
    def accounts() -> dict[str, str]:
        return {account["provider"]: account["status"] for account in product.everything("accounts/")}

    assert set(accounts()) == set(all_providers())
    within(120, lambda: set(accounts().values()) == {"ok"}, f"accounts: {accounts()}")
    within(
        120,
        lambda: {row["state"] for row in product.everything("subscriptions/")} == {"active"},
        f"{product.everything('subscriptions/')}",
    )
    within(120, lambda: json.loads(product.up.get("/readyz")[1])["status"] == "ok", str(product.up.get("/readyz")))


def test_the_first_administrator_has_the_password_of_the_settings(product: Product) -> None:
    assert login(product.up, "correct horse")
    assert not login(product.up, "correct house")


def test_events_of_all_types_arrive(product: Product) -> None:
    def missing() -> set[tuple[str, str]]:
        received = {(event["provider"], event["type"]) for event in product.everything("events/")}
        return declared - received

    declared = {
        (slug, item.name)
        for slug, provider in all_providers().items()
        for item in provider.event_types
        if not item.wildcard
    }
    for slug in all_providers():
        product.control(slug, "stream", per_minute=600)
    within(180, lambda: not missing(), f"still missing: {missing()}")
    for slug in all_providers():
        product.control(slug, "stream", per_minute=0)


# Each of these disturbs all providers at once, and then waits for each of them.


def test_leases_are_renewed(product: Product) -> None:
    before = {
        slug: datetime.fromisoformat(product.settled(slug, "active", lambda seen: seen["expires_at"])["expires_at"])
        for slug, provider in all_providers().items()
        if provider.capabilities.renewal is not Renewal.NONE
    }
    assert before
    for slug in before:
        product.control(slug, "clock", advance_seconds=60)
    for slug, expired_at in before.items():

        def is_renewed(seen: Any, before: datetime = expired_at) -> bool:
            return datetime.fromisoformat(seen["expires_at"]) > before

        row = product.settled(slug, "renewed", is_renewed)
        done = product.operations(row["id"])
        assert {"renew", "replace"} & set(done), (slug, done)


def test_what_the_provider_disabled_is_enabled(product: Product) -> None:
    before = {
        slug: product.settled(slug, "active")
        for slug, provider in all_providers().items()
        if provider.capabilities.can_set_status or provider.capabilities.update_may_enable
    }
    assert before
    done = {slug: len(product.operations(row["id"])) for slug, row in before.items()}
    for slug, row in before.items():
        product.control(slug, f"remote/{row['remote_id']}", status="disabled")
    for slug, count in done.items():

        def is_enabled(seen: Any, before: int = count) -> bool:
            return len(product.operations(seen["id"])) > before

        product.settled(slug, "enabled", is_enabled)


def test_what_was_deleted_at_the_provider_is_registered_again(product: Product) -> None:
    before = {
        slug: product.settled(slug, "active")
        for slug, provider in all_providers().items()
        if provider.capabilities.can_list
    }
    assert before
    for slug, row in before.items():
        product.control(slug, f"remote/{row['remote_id']}", deleted=True)
    for slug, row in before.items():

        def is_registered_again(seen: Any, before: str = row["remote_id"]) -> bool:
            return bool(seen["remote_id"] != before)

        product.settled(slug, "registered again", is_registered_again)
        assert "register" in product.operations(row["id"])[1:]
