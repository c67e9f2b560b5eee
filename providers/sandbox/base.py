"""The base class of all simulators: the part of a provider's server that we use, with faults on demand.

A provider's `simulator.py` subclasses `Simulator` and assigns the class to `simulator`. `providers.sandbox.server`
finds it and serves it over HTTP. A simulator shares no code with the plug-in, so that a mistake in one is not hidden by
the same mistake in the other. Independent of Django.

Each simulator has two tenants, one per login: "spare" for experiments, and "demo", which streams random events. All
state (webhooks, faults, stream, options) belongs to one tenant. It is in memory only and guarded by one lock per
simulator; webhooks are sent from a thread pool, outside that lock.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from providers.sandbox.deliveries import DeliveringSimulator
from providers.sandbox.tenant import Fault, H, O, Tenant, iso


class Simulator(DeliveringSimulator[H, O]):
    """A simulated provider with the operations of the control API."""

    def set_stream(self, tenants: Iterable[Tenant[H, O]], per_minute: float) -> None:
        """Set how many random events each tenant sends per minute; 0 stops the stream."""
        with self.lock:
            for tenant in tenants:
                tenant.per_minute = per_minute
                tenant.next_event_at = 0.0
        self.wake()

    def add_fault(self, tenants: Iterable[Tenant[H, O]], fault: Fault) -> None:
        """Queue a fault; `times: 0` clears the queue."""
        with self.lock:
            for tenant in tenants:
                if not fault.times:
                    tenant.faults.clear()
                tenant.faults.extend([fault] * fault.times)

    def age(self, tenants: Iterable[Tenant[H, O]], seconds: float) -> None:
        """Move every stored deadline back, as if that much time had passed. The clock does not change."""
        with self.lock:
            for tenant in tenants:
                for hook in tenant.hooks.values():
                    if hook.expires_at is not None:
                        hook.expires_at -= seconds
                tenant.retries = [replace(batch, due_at=batch.due_at - seconds) for batch in tenant.retries]
                self.age_extra_state(tenant, seconds)
        self.wake()

    def set_options(self, tenants: Iterable[Tenant[H, O]], changes: Mapping[str, object]) -> None:
        """Merge changes into the options. Raises pydantic's ValidationError before any change."""
        with self.lock:
            merged = [
                (tenant, self.options_model.model_validate_json(json.dumps({**tenant.options.model_dump(), **changes})))
                for tenant in tenants
            ]
            for tenant, options in merged:
                tenant.options = options

    def change_remote(
        self,
        tenants: Iterable[Tenant[H, O]],
        remote_id: str,
        *,
        status: str | None = None,
        deleted: bool = False,
        config: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Change or delete a webhook as if it was done at the provider. Raises KeyError if no tenant has it."""
        with self.lock:
            tenant = next((tenant for tenant in tenants if remote_id in tenant.hooks), None)
            if tenant is None:
                raise KeyError(remote_id)
            if deleted:
                del tenant.hooks[remote_id]
                return {"deleted": True}
            hook = tenant.hooks[remote_id]
            self.change(tenant, hook, status=status, config=config)
            return self._describe(tenant, hook)

    def has_hook(self, tenants: Iterable[Tenant[H, O]], remote_id: str) -> bool:
        """Return whether one of the tenants has this webhook."""
        with self.lock:
            return any(remote_id in tenant.hooks for tenant in tenants)

    def state(self, tenants: Collection[Tenant[H, O]]) -> dict[str, object]:
        """Return the whole state. Deliveries and calls are the most recent ones, oldest first."""
        logins = {tenant.login for tenant in tenants}
        with self.lock:
            return {
                "remote": [self._describe(tenant, hook) for tenant in tenants for hook in tenant.hooks.values()],
                "deliveries": [item.describe() for item in self.deliveries if item.batch.login in logins],
                "retries": [batch.describe() for tenant in tenants for batch in tenant.retries],
                "calls": [call for call in self.calls if call["login"] is None or call["login"] in logins],
                "options": {tenant.login: tenant.options.model_dump(mode="json") for tenant in tenants},
                "stream": {tenant.login: {"per_minute": tenant.per_minute} for tenant in tenants},
                "faults": {tenant.login: len(tenant.faults) for tenant in tenants},
            }

    def _describe(self, tenant: Tenant[H, O], hook: H) -> dict[str, object]:
        return {
            **self.details(tenant, hook),
            "remote_id": hook.remote_id,
            "login": tenant.login,
            "url": hook.url,
            "enabled": hook.enabled,
            "expires_at": iso(hook.expires_at),
            "created_at": iso(hook.created_at),
            "failures": hook.failures,
        }


AnySimulator = Simulator[Any, Any]
