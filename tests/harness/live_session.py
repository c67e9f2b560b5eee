"""A session at a provider's simulator that records every exchange."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import requests

from providers.contract.address_guard import AddressGuard
from providers.contract.base import AnyProvider, Registration, RemoteSubscription
from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sandbox.server import Sandbox

LOOPBACK = AddressGuard(networks=(ip_network("127.0.0.0/8"),))


class Live:
    """A session that records all its exchanges, with the account and the secrets that it uses."""

    def __init__(self, provider: AnyProvider, sandbox: Sandbox) -> None:
        self.provider = provider
        self.sandbox = sandbox
        self.account: Mapping[str, Any] = sandbox.logins(provider.slug)[0]
        self.exchanges: list[Exchange] = []
        self.secrets: set[str] = set()
        self._open: list[Http] = []
        self.session = self.session_with()

    def session_with(
        self, *, credentials: Mapping[str, object] | None = None, seconds: float | None = None
    ) -> ProviderSession[Any, Any]:
        """Return a new session, with other credentials or a deadline in seconds if given."""
        checked = validate(self.provider.credentials_model, credentials or self.account["credentials"])
        self.secrets.update(checked.secret_values())
        # The webhook's secret is not in `secrets`, so that `secret_keys` alone must mask it.
        http = Http(
            guard=LOOPBACK,
            secrets=checked.secret_values(),
            secret_keys=self.provider.secret_keys,
            deadline=None if seconds is None else time.monotonic() + seconds,
            record=self.exchanges.append,
        )
        self._open.append(http)
        return ProviderSession(validate(self.provider.settings_model, self.account["settings"]), checked, http)

    def close(self) -> None:
        """Close all connections."""
        for http in self._open:
            http.close()

    def register(self, registration: Registration[Any]) -> RemoteSubscription:
        """Register a webhook and remember its secret."""
        if registration.secret:
            self.secrets.add(registration.secret)
        remote = self.provider.register(self.session, registration)
        if remote.new_secret:
            self.secrets.add(remote.new_secret)
        return remote

    def control(self, command: str, **values: object) -> Any:
        """Make a control call to the sandbox."""
        response = requests.post(f"{self.sandbox.url}/_sandbox/{self.provider.slug}/{command}", json=values, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()

    def state(self) -> Any:
        """Return the state of the simulator."""
        return requests.get(f"{self.sandbox.url}/_sandbox/{self.provider.slug}/state", timeout=30).json()
