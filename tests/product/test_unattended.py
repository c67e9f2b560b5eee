"""The product as a newcomer meets it: started by its one command, left alone, then poked at through the sandbox."""

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

# One product for all of them, also where several processes share the tests.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("alive")]


class Alive:
    """A running product, seen through its REST API, and its sandbox."""

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
        done = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    def get(self, path: str, **params: str | int) -> Any:
        url = path if path.startswith("http") else f"http://127.0.0.1:{self.up.port}/api/v1/{path}"
        response = self.session.get(url, params=params, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def everything(self, path: str, **params: str | int) -> list[Any]:
        page = self.get(path, limit=250, **params)
        found = list(page["results"])
        while page["next"]:
            page = self.get(page["next"])
            found += page["results"]
        return found

    def subscriptions(self) -> dict[str, Any]:
        """The demo subscriptions by their provider's slug; a provider with several: the newest."""
        providers = {account["id"]: account["provider"] for account in self.everything("accounts/")}
        return {providers[row["account"]]: row for row in reversed(self.everything("subscriptions/"))}

    def control(self, slug: str, what: str, **body: object) -> Any:
        url = f"http://127.0.0.1:{self.up.sandbox_port}/_sandbox/{slug}/{what}"
        response = requests.post(url, json=body, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()

    def operations(self, subscription: str) -> list[str]:
        """What was done to it, oldest first."""
        return [item["action"] for item in reversed(self.everything(f"subscriptions/{subscription}/operations/"))]


def within(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alive]:
    data_dir: Path = tmp_path_factory.mktemp("alive") / "data"
    data_dir.mkdir()
    up = Up(data_dir, {"DEMO": "1"}).start().wait_ready()
    yield Alive(up)
    up.stop()


def test_without_touching_anything_it_is_alive(alive: Alive) -> None:
    def accounts() -> dict[str, str]:
        return {account["provider"]: account["status"] for account in alive.everything("accounts/")}

    assert set(accounts()) == set(all_providers())
    within(120, lambda: set(accounts().values()) == {"ok"}, f"accounts: {accounts()}")
    within(
        120,
        lambda: {row["state"] for row in alive.everything("subscriptions/")} == {"active"},
        f"{alive.everything('subscriptions/')}",
    )
    within(120, lambda: json.loads(alive.up.get("/readyz")[1])["status"] == "ok", str(alive.up.get("/readyz")))


@pytest.mark.parametrize("slug", all_providers())
def test_events_of_all_types_arrive(alive: Alive, slug: str) -> None:
    alive.control(slug, "stream", per_minute=600)
    declared = {item.name for item in all_providers()[slug].event_types if not item.wildcard}

    def missing() -> set[str]:
        return declared - {event["type"] for event in alive.everything("events/", provider=slug)}

    within(180, lambda: not missing(), f"still missing: {missing()}")
    alive.control(slug, "stream", per_minute=0)


@pytest.mark.parametrize("slug", all_providers())
def test_what_is_done_behind_our_back_is_repaired(alive: Alive, slug: str) -> None:
    can = all_providers()[slug].capabilities
    row = alive.subscriptions()[slug]

    def settled(what: str, holds: Callable[[Any], bool] = lambda seen: True) -> Any:
        """The subscription, once it is active and as it should be: all told by one look."""
        last: list[Any] = []

        def is_so() -> bool:
            last[:] = [alive.get(f"subscriptions/{row['id']}/")]
            return bool(last[0]["state"] == "active" and last[0]["remote_id"] and holds(last[0]))

        within(120, is_so, f"not {what} in time")
        return last[0]

    if row["expires_at"]:
        before = datetime.fromisoformat(settled("active", lambda seen: seen["expires_at"] is not None)["expires_at"])
        alive.control(slug, "clock", advance_seconds=60)
        settled("renewed", lambda seen: seen["expires_at"] and datetime.fromisoformat(seen["expires_at"]) > before)
        done = alive.operations(row["id"])
        assert {"renew", "replace"} & set(done), done
    if can.can_set_status or can.update_may_enable:
        count = len(alive.operations(row["id"]))
        alive.control(slug, f"remote/{settled('active')['remote_id']}", status="disabled")
        settled("switched on", lambda seen: len(alive.operations(row["id"])) > count)
    if can.can_list:
        gone = settled("active")["remote_id"]
        alive.control(slug, f"remote/{gone}", deleted=True)
        settled("registered again", lambda seen: seen["remote_id"] != gone)
        assert "register" in alive.operations(row["id"])[1:]
