"""Simulate Acme's API."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.tenant import Event, Hook, LoginName, Options, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall

KEYS = {"acme-spare-key": LoginName.SPARE, "acme-demo-key": LoginName.DEMO}


@dataclass(slots=True, kw_only=True)
class Box(Hook):
    """A registered hook."""

    kinds: list[str]
    key: str


AcmeTenant = Tenant[Box, Options]


class AcmeSimulator(Simulator[Box, Options]):
    """Two teams, one per login."""

    slug = "acme-box"
    collection = "/acme/hooks"
    paths: ClassVar[tuple[str, ...]] = ("/acme",)
    event_types: ClassVar[tuple[str, ...]] = ("box.filled", "box.emptied")
    demo_config: ClassVar[Mapping[str, object]] = {"kinds": ["box.filled", "box.emptied"]}
    options_model = Options

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return one key per login."""
        spare, demo = (
            SandboxLogin(login=login, settings={"team": login.value, "base_url": base_url}, credentials={"key": key})
            for key, login in KEYS.items()
        )
        return spare, demo

    def login_of(self, call: Call) -> LoginName | None:
        """Return the login of the key."""
        return next((KEYS.get(value) for name, value in call.headers.items() if name.lower() == "x-acme-key"), None)

    def handle(self, tenant: AcmeTenant, call: Call) -> Response:
        """Respond to register, read and delete calls."""
        match call.method, call.path.removeprefix("/acme/").split("/"):
            case "GET", ["team"]:
                return Response(200, {"team": tenant.login.value})
            case "POST", ["hooks"]:
                return self._register(tenant, json.loads(call.body))
            case method, ["hooks", remote_id] if bytes.fromhex(remote_id).decode() in tenant.hooks:
                hook = tenant.hooks[bytes.fromhex(remote_id).decode()]
                if method == "DELETE":
                    del tenant.hooks[hook.remote_id]
                    return Response(204)
                return Response(200, self.details(tenant, hook))
        return self.error_response(404)

    def _register(self, tenant: AcmeTenant, body: dict[str, Any]) -> Response:
        hook = Box(remote_id=str(uuid.uuid4()), url=body["target"], kinds=body["kinds"], key=body["key"])
        tenant.hooks[hook.remote_id] = hook
        return Response(201, self.details(tenant, hook))

    def error_response(self, status: int) -> Response:
        """Return an error."""
        return Response(status, {"error": status})

    def details(self, tenant: AcmeTenant, hook: Box) -> dict[str, object]:
        """Return the webhook by Acme's field names."""
        return {"id": hook.remote_id, "target": hook.url, "kinds": hook.kinds}

    def change(self, tenant: AcmeTenant, hook: Box, *, status: str | None, config: Mapping[str, object] | None) -> None:
        """Change the kinds; nothing else can be changed."""
        kinds = (config or {}).get("kinds", hook.kinds)
        if status is not None or not isinstance(kinds, list):
            raise InvalidControlInput("config.kinds: must be a list; there is no status at Acme")
        hook.kinds = kinds

    def matches_type(self, hook: Box, event_type: str) -> bool:
        """Return whether the webhook has this kind."""
        return event_type in hook.kinds

    def make_event(self, tenant: AcmeTenant, event_type: str, hook: Box) -> Event:
        """Return an event about a box."""
        event_id = str(uuid.uuid4())
        return Event(id=event_id, type=event_type, body={"id": event_id, "kind": event_type, "box": "B-7"})

    def build_webhook_call(
        self, tenant: AcmeTenant, hook: Box, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Return a POST with signed JSON."""
        body = json.dumps(events[0].body).encode()
        key = "wrong" if bad_signature else hook.key
        signature = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        return WebhookCall("POST", hook.url, {"X-Acme-Signature": signature, "Content-Type": "application/json"}, body)


simulator = AcmeSimulator
