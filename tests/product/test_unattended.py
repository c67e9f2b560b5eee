"""The product as a newcomer meets it: started by one command, left alone, then disturbed through the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from config.environment import BASE_DIR
from providers.contract.registry import all_providers
from tests.product.test_up import Up

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

    def subscriptions(self) -> dict[str, Any]:
        """Return the newest demo subscription of each provider, by slug."""
        providers = {account["id"]: account["provider"] for account in self.everything("accounts/")}
        return {providers[row["account"]]: row for row in reversed(self.everything("subscriptions/"))}

    def control(self, slug: str, command: str, **body: object) -> Any:
        url = f"http://127.0.0.1:{self.up.sandbox_port}/_sandbox/{slug}/{command}"
        response = requests.post(url, json=body, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

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
    up = Up(data_dir, {"DEMO": "1"}).start().wait_ready()
    yield Product(up)
    up.stop()


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


@pytest.mark.parametrize("slug", all_providers())
def test_events_of_all_types_arrive(product: Product, slug: str) -> None:
    product.control(slug, "stream", per_minute=600)
    declared = {item.name for item in all_providers()[slug].event_types if not item.wildcard}

    def missing() -> set[str]:
        return declared - {event["type"] for event in product.everything("events/", provider=slug)}

    within(180, lambda: not missing(), f"still missing: {missing()}")
    product.control(slug, "stream", per_minute=0)


@pytest.mark.parametrize("slug", all_providers())
def test_changes_at_the_provider_are_repaired(product: Product, slug: str) -> None:
    can = all_providers()[slug].capabilities
    row = product.subscriptions()[slug]

    def settled(expectation: str, holds: Callable[[Any], bool] = lambda seen: True) -> Any:
        """Wait until the subscription is active and the condition holds, both in one response. Return it."""
        last: list[Any] = []

        def is_settled() -> bool:
            last[:] = [product.get(f"subscriptions/{row['id']}/")]
            return bool(last[0]["state"] == "active" and last[0]["remote_id"] and holds(last[0]))

        within(120, is_settled, f"not {expectation} in time")
        return last[0]

    if row["expires_at"]:
        before = datetime.fromisoformat(settled("active", lambda seen: seen["expires_at"] is not None)["expires_at"])
        product.control(slug, "clock", advance_seconds=60)
        settled("renewed", lambda seen: seen["expires_at"] and datetime.fromisoformat(seen["expires_at"]) > before)
        done = product.operations(row["id"])
        assert {"renew", "replace"} & set(done), done
    if can.can_set_status or can.update_may_enable:
        count = len(product.operations(row["id"]))
        product.control(slug, f"remote/{settled('active')['remote_id']}", status="disabled")
        settled("enabled", lambda seen: len(product.operations(row["id"])) > count)
    if can.can_list:
        deleted = settled("active")["remote_id"]
        product.control(slug, f"remote/{deleted}", deleted=True)
        settled("registered again", lambda seen: seen["remote_id"] != deleted)
        assert "register" in product.operations(row["id"])[1:]
