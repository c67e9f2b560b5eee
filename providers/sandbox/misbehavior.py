"""What servers do beside their documents: lists that lag, are cut or odd, lost answers, and refused updates.

Each is an option of every simulator, so that the tests of the lifecycle can turn them on at random.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from providers.sandbox.calls import Call, Response
from providers.sandbox.tenant import Hook, Tenant

if TYPE_CHECKING:
    from providers.sandbox.simulated_api import SimulatedApi

# One entry that no plug-in can read but for its ID, whatever the field of the ID is called.
ID_FIELDS = ("id", "webhookId", "webhook_id")
ODD_FIELDS: dict[str, object] = {
    "status": None, "expires": -1, "enabled": "?", "expired": "no", "callbackUrl": 7, "expirationDateTime": {},
    "value": 5, "behavior": "webhook",
}  # fmt: skip


def misbehave(simulator: SimulatedApi[Any, Any], tenant: Tenant[Any, Any], call: Call) -> Response:
    """Return the response to a call, as the options of the tenant distort it."""
    options = tenant.options
    if options.update_status and call.method in ("PUT", "PATCH"):
        return simulator.error_response(options.update_status)
    if options.forgets_updates and call.method in ("PUT", "PATCH"):
        return _update(simulator, tenant, call)
    if simulator.is_registration(call):
        return _register(simulator, tenant, call)
    if call.method != "GET":
        return simulator.serve(tenant, call)
    lists = simulator.is_list_call(call)
    if lists and options.list_answer != "right":
        return _wrong_list(simulator, options.list_answer)
    shown, all_hooks = _shown(tenant, lists=lists), tenant.hooks
    tenant.hooks = shown
    try:
        response = simulator.serve(tenant, call)
    finally:
        tenant.hooks = all_hooks
    return _with_odd_entry(simulator, response) if lists and options.odd_entry else response


def _update(simulator: SimulatedApi[Any, Any], tenant: Tenant[Any, Any], call: Call) -> Response:
    before = copy.deepcopy(tenant.hooks)
    response = simulator.serve(tenant, call)
    for remote_id, hook in before.items():
        hook.expires_at = tenant.hooks[remote_id].expires_at
        tenant.hooks[remote_id] = hook
    return response


def _register(simulator: SimulatedApi[Any, Any], tenant: Tenant[Any, Any], call: Call) -> Response:
    before = set(tenant.hooks)
    urls = {hook.url for hook in tenant.hooks.values()}
    response = simulator.serve(tenant, call)
    created = [tenant.hooks[remote_id] for remote_id in tenant.hooks if remote_id not in before]
    if tenant.options.one_for_a_url and any(hook.url in urls for hook in created):
        for hook in created:
            del tenant.hooks[hook.remote_id]
        return simulator.error_response(409)
    if tenant.options.registration_status and created:
        return simulator.error_response(tenant.options.registration_status)
    return response


def _shown(tenant: Tenant[Any, Any], *, lists: bool) -> dict[str, Hook]:
    """Return the webhooks that a list or another read shows."""
    options, now = tenant.options, time.time()
    lag = options.list_lag_seconds if lists else options.read_lag_seconds
    visible = [(remote_id, hook) for remote_id, hook in tenant.hooks.items() if not 0 <= now - hook.created_at < lag]
    return dict(visible[: options.list_limit] if lists else visible)


def _wrong_list(simulator: SimulatedApi[Any, Any], answer: str) -> Response:
    if answer == "html":
        return Response(200, b"<!doctype html><title>Maintenance</title>", {"Content-Type": "text/html"})
    return Response(200, b"null") if answer == "null" else simulator.error_response(404)


def _with_odd_entry(simulator: SimulatedApi[Any, Any], response: Response) -> Response:
    entry = {**dict.fromkeys(ID_FIELDS, simulator.odd_id), **ODD_FIELDS}
    body = response.body
    if isinstance(body, list):
        body = [entry, *body]
    elif isinstance(body, dict) and isinstance(body.get("data"), list):
        body = {**body, "data": [entry, *body["data"]]}
    return Response(response.status, body, response.headers)
