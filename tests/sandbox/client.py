"""A client of the simulated Egnyte Connect API and of the control API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from providers.sandbox.server import Sandbox
from tests.harness.stub_server import Received

SLUG = "egnyte-connect"
SECRET = "Bearer s3cr3t-1"


class Client:
    """A client of the provider's API with one login, and of the control API."""

    def __init__(self, sandbox: Sandbox, login: int = 0) -> None:
        facts = sandbox.logins(SLUG)[login]
        self.sandbox = sandbox
        self.name: str = facts["login"]
        self.token: str = facts["credentials"]["access_token"]
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> requests.Response:
        return self.session.request(
            method,
            f"{self.sandbox.url}/pubapi/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {token or self.token}"},
            allow_redirects=False,
            timeout=10,
        )

    def register(self, url: str = "https://hooks.example.test/hooks/t", **config: object) -> str:
        response = self.call("POST", "/webhooks", {"url": url, "authHeader": SECRET, **config})
        assert response.status_code == 201, response.text
        return str(response.json()["webhookId"])

    def details(self, remote_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/webhooks/{remote_id}/details").json())

    def raw(self, method: str, path: str, body: object = None) -> requests.Response:
        return self.session.request(method, f"{self.sandbox.url}/_sandbox/{path}", json=body, timeout=10)

    def control(self, command: str, **body: object) -> dict[str, Any]:
        response = self.raw("POST", f"{SLUG}/{command}", body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def emit(self, **body: object) -> list[dict[str, Any]]:
        return list(self.control("emit", **body)["deliveries"])

    def state(self, query: str = "") -> dict[str, Any]:
        return dict(self.raw("GET", f"{SLUG}/state{query}").json())


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    stop = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < stop, "the condition did not become true in time"
        time.sleep(0.01)


def events_of(received: list[Received]) -> list[dict[str, Any]]:
    return [event for call in received for event in call.json()]
