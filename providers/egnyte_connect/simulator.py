"""Simulate Egnyte's webhook API: registration, status, details, whoami, throttling, leases and deliveries.

Where the real behavior is unknown, an option selects one of the possibilities; its default is our assumption.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from providers.egnyte_connect.sample_events import SampleDomain
from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.mashery import MasheryGateway, MasheryOptions
from providers.sandbox.odd_bodies import encode_text
from providers.sandbox.tenant import Event, Hook, LoginName, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall

PREFIX = "/pubapi/v1"
MAX_PATHS = 100
EVENT_NAMES: Mapping[str, tuple[str, ...]] = {
    "comment": ("remove_comment", "set_comment"),
    "fs": (
        "add_file", "add_folder", "upload_link", "copy_file", "copy_folder", "delete_file", "delete_folder",
        "delete_from_trash", "move_file", "move_folder", "restore_from_trash", "lock_file", "unlock_file",
        "folder_project_activity",
    ),
    "link": (
        "create", "create_download_link", "create_upload_link", "delete", "delete_download_link", "delete_upload_link",
    ),
    "meta": ("add_metadata_key", "delete_metadata_key"),
    "workflow": ("created", "completed", "approvaltask_approved", "approvaltask_rejected"),
    "group": ("create", "delete", "rename", "add_members", "remove_members", "add_owner", "remove_owner"),
    "permission": ("permission_change",),
}  # fmt: skip
TOKENS: Mapping[str, LoginName] = {
    "sandbox-egnyte-connect-spare-token": LoginName.SPARE,
    "sandbox-egnyte-connect-demo-token": LoginName.DEMO,
}
DOMAINS: Mapping[LoginName, str] = {LoginName.SPARE: "acme", LoginName.DEMO: "globex"}
# The provider's names of fields that control calls may also give by the plug-in's names
FIELD_ALIASES: Mapping[str, str] = {"event_types": "eventType", "paths": "path", "callback_url": "url"}
FIELDS = ("url", "eventType", "path", "authHeader", "authHeaderValue")


class EgnyteConnectOptions(MasheryOptions):
    """The options of this simulator."""

    max_webhooks: int = Field(default=10, ge=0)
    update_extends: bool = True  # a PUT starts a new lease
    hide_auth_header: bool = False  # from details
    hide_url: bool = False  # from details
    expand_wildcards: bool = False  # details show single types instead of wildcards, and of all events
    # The header that carries authHeader. With an authHeaderValue it is always the header that authHeader names.
    auth_delivery: Literal["authorization", "authentication", "named"] = "authorization"
    envelope: Literal["array", "object", "events"] = "array"
    scopes: tuple[str, ...] = ("Egnyte.filesystem", "Egnyte.webhooks")
    whoami: Literal["ok", "forbidden", "missing"] = "ok"
    administrator: bool = True  # whether the token's user is one; others may not manage webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """The validated config of a webhook. No event types means all; `path` is as sent."""

    url: str
    event_types: tuple[str, ...] = ()
    path: str | None = None
    auth_header: str | None = field(default=None, repr=False)
    auth_header_value: str | None = field(default=None, repr=False)

    def paths(self) -> tuple[str, ...]:
        """Return the path filters; none means everywhere."""
        return tuple(path.rstrip("/") or "/" for path in _split_paths(self.path)) if self.path else ()

    def as_json(self) -> dict[str, object]:
        """Return the config by Egnyte's names, without fields that are not set."""
        values: dict[str, object] = {
            "url": self.url,
            "eventType": list(self.event_types) or None,
            "path": self.path,
            "authHeader": self.auth_header,
            "authHeaderValue": self.auth_header_value,
        }
        return {key: value for key, value in values.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook."""

    config: WebhookConfig

    def summary(self) -> dict[str, object]:
        """Return the response of register, list and status calls."""
        return {
            "webhookId": self.remote_id,
            "expires": None if self.expires_at is None else int(self.expires_at),
            "status": "enabled" if self.enabled else "disabled",
        }


class RefusedCall(Exception):
    """The server refuses a call; `body` is the error body."""

    def __init__(self, status: int, code: str, message: str, details: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "details": details or message}
        self.field = field


EgnyteTenant = Tenant[Webhook, EgnyteConnectOptions]


class EgnyteConnectSimulator(Simulator[Webhook, EgnyteConnectOptions]):
    """Two Egnyte domains with an API each; the access token identifies the domain."""

    slug = "egnyte-connect"
    collection = f"{PREFIX}/webhooks"
    paths: ClassVar[tuple[str, ...]] = (f"{PREFIX}/webhooks", f"{PREFIX}/whoami")
    event_types: ClassVar[tuple[str, ...]] = tuple(f"{group}:{name}" for group, n in EVENT_NAMES.items() for name in n)
    wildcards: ClassVar[frozenset[str]] = frozenset(f"{group}:*" for group in (*EVENT_NAMES, "user"))
    demo_config: ClassVar[dict[str, object]] = {
        "event_types": [f"{group}:*" for group in sorted(EVENT_NAMES)],
        "paths": [],
    }
    secret_keys: ClassVar[frozenset[str]] = frozenset({"authHeader", "authHeaderValue"})
    options_model = EgnyteConnectOptions

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return one domain per login, with a constant token."""
        spare, demo = (
            SandboxLogin(
                login=login,
                settings={"domain": DOMAINS[login], "base_url": base_url},
                credentials={"access_token": token},
            )
            for token, login in TOKENS.items()
        )
        return spare, demo

    @cached_property
    def _gateway(self) -> MasheryGateway:
        return MasheryGateway(DOMAINS)

    @cached_property
    def _domains(self) -> dict[LoginName, SampleDomain]:
        return {login: SampleDomain(domain, self.random) for login, domain in DOMAINS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """Return the login of the access token."""
        return TOKENS.get(call.bearer_token() or "")

    def error_response(self, status: int) -> Response:
        """Return an error in Egnyte's format."""
        body = {"code": f"ERROR_{status}", "message": f"The call failed with {status}.", "details": "Sandbox"}
        return Response(status, body, {"WWW-Authenticate": "Bearer"} if status == 401 else {})

    # -- The gateway ---------------------------------------------------------------------------------------------

    def serve(self, tenant: EgnyteTenant, call: Call) -> Response:
        """Respond through the gateway, which throttles."""
        return self._gateway.serve(tenant, lambda: self.handle(tenant, call))

    def age_extra_state(self, tenant: EgnyteTenant, seconds: float) -> None:
        """Let the limits of the gateway recover."""
        self._gateway.age(tenant.login, seconds)

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: EgnyteTenant, call: Call) -> Response:
        """Respond to an API call."""
        if not tenant.options.token_accepted:
            return self.error_response(401)
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                return Response(405, self.error_response(405).body, {"Allow": ", ".join(routes)})
            return routes[call.method]()
        except RefusedCall as error:
            return Response(error.status, error.body)

    def _routes(self, tenant: EgnyteTenant, call: Call) -> dict[str, Callable[[], Response]]:
        parts = [unquote(part) for part in call.path.removeprefix(PREFIX).strip("/").split("/")]
        if parts != ["whoami"] and not tenant.options.administrator:
            raise RefusedCall(403, "FORBIDDEN", "Insufficient permissions", "Only administrators manage webhooks")
        match parts:
            case ["whoami"] if tenant.options.whoami == "forbidden":
                raise RefusedCall(403, "FORBIDDEN", "The token has no scope for this call")
            case ["whoami"] if tenant.options.whoami == "ok":
                return {"GET": lambda: self._whoami(tenant)}
            case ["webhooks"]:
                return {"GET": lambda: self._list(tenant), "POST": lambda: self._register(tenant, call)}
            case ["webhooks", remote_id]:
                hook = _find(tenant, remote_id)
                return {"PUT": lambda: self._update(tenant, hook, call), "DELETE": lambda: self._delete(tenant, hook)}
            case ["webhooks", remote_id, "status"]:
                hook = _find(tenant, remote_id)
                return {"GET": lambda: Response(200, hook.summary()), "POST": lambda: self._set_status(hook, call)}
            case ["webhooks", remote_id, "details"]:
                hook = _find(tenant, remote_id)
                return {"GET": lambda: Response(200, self._shown_details(tenant, hook))}
        raise RefusedCall(404, "NOT_FOUND", "No such resource")

    def _whoami(self, tenant: EgnyteTenant) -> Response:
        domain = DOMAINS[tenant.login]
        scopes = list(tenant.options.scopes)
        return Response(
            200, {"clientId": "hweb8adyh3gumiypa45qdgkm", "username": "johndoe", "domain": domain, "scopes": scopes}
        )

    def _list(self, tenant: EgnyteTenant) -> Response:
        return Response(200, [hook.summary() for hook in tenant.hooks.values()])

    def _register(self, tenant: EgnyteTenant, call: Call) -> Response:
        config = self._read_config(_object(call))
        if len(tenant.hooks) >= tenant.options.max_webhooks:
            raise RefusedCall(
                409, "QUOTA_EXCEEDED", "The number of webhooks is limited",
                f"At most {tenant.options.max_webhooks} for one clientId and domain",
            )  # fmt: skip
        expires_at = time.time() + tenant.options.lease_seconds
        hook = Webhook(remote_id=str(uuid.uuid4()), url=config.url, config=config, expires_at=expires_at)
        tenant.hooks[hook.remote_id] = hook
        return Response(201, hook.summary())

    def _update(self, tenant: EgnyteTenant, hook: Webhook, call: Call) -> Response:
        body = _object(call)
        config = self._read_config(body)
        if body.get("status") is not None:
            _set_enabled(hook, body["status"])
        _configure(hook, config)
        if tenant.options.update_extends:
            hook.expires_at = time.time() + tenant.options.lease_seconds
        return Response(200, {})  # the response is not documented, so clients must not rely on it

    def _delete(self, tenant: EgnyteTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _set_status(self, hook: Webhook, call: Call) -> Response:
        _set_enabled(hook, _object(call).get("status"))
        return Response(200, hook.summary())

    def _shown_details(self, tenant: EgnyteTenant, hook: Webhook) -> dict[str, object]:
        hidden = {"authHeaderValue"}
        hidden |= {"url"} if tenant.options.hide_url else set()
        hidden |= {"authHeader"} if tenant.options.hide_auth_header else set()
        shown = {"eventType": None, "path": None, **self.details(tenant, hook)}
        if tenant.options.expand_wildcards:
            shown["eventType"] = [name for name in self.event_types if self.matches_type(hook, name)]
        return {key: value for key, value in shown.items() if key not in hidden}

    def _read_config(self, body: Mapping[str, object]) -> WebhookConfig:
        """Validate a whole config. Raises RefusedCall for the first invalid field."""
        auth_header, auth_value = _text(body, "authHeader"), _text(body, "authHeaderValue")
        if auth_value and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", auth_header or ""):
            raise _invalid("authHeader", "must be the name of a header when authHeaderValue is given")
        return WebhookConfig(
            url=self._read_url(body),
            event_types=self._read_event_types(body),
            path=_read_path(body),
            auth_header=auth_header,
            auth_header_value=auth_value,
        )

    def _read_url(self, body: Mapping[str, object]) -> str:
        url = _text(body, "url")
        if not url:
            raise _invalid("url", "is required")
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _invalid("url", "is not a URL")
        if not self.sender.accepts(url):
            raise _invalid("url", "must begin with https://")
        return url

    def _read_event_types(self, body: Mapping[str, object]) -> tuple[str, ...]:
        value = body.get("eventType")
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise _invalid("eventType", "must be a list with at least one event type")
        for name in value:
            if not isinstance(name, str) or (name not in self.event_types and name not in self.wildcards):
                raise _invalid("eventType", f"{name} is not an event type")
        return tuple(value)

    # -- Webhooks -----------------------------------------------------------------------------------------------

    def details(self, tenant: EgnyteTenant, hook: Webhook) -> dict[str, object]:
        """Return summary and config by Egnyte's names."""
        return {**hook.summary(), **hook.config.as_json()}

    def change(
        self, tenant: EgnyteTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merge fields into the config; an empty list or null clears a field."""
        try:
            changed = self._read_config({**hook.config.as_json(), **_provider_fields(config or {})})
            if status is not None:
                _set_enabled(hook, status)
        except RefusedCall as error:
            name = error.field if error.field == "status" else f"config.{error.field}"
            raise InvalidControlInput(f"{name}: {error.body['details']}") from None
        _configure(hook, changed)

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """Return whether the webhook has this type, its wildcard, or all types."""
        types = hook.config.event_types
        return not types or event_type in types or f"{event_type.partition(':')[0]}:*" in types

    def matches(self, hook: Webhook, event: Event) -> bool:
        """Return whether the type matches and, for an event with paths, one is at or below a path filter."""
        if not self.matches_type(hook, event.type):
            return False
        filters = hook.config.paths()
        if not filters or not event.paths:
            return True
        below = [(root.rstrip("/") + "/").lower() for root in filters]  # Egnyte's paths are case-insensitive
        return any(f"{path}/".lower().startswith(root) for root in below for path in event.paths)

    def make_event(self, tenant: EgnyteTenant, event_type: str, hook: Webhook) -> Event:
        """Return a sample event of the tenant's domain."""
        return self._domains[tenant.login].event(event_type, hook.config.paths())

    def batch_limit(self, tenant: EgnyteTenant) -> int:
        """Return four if the envelope can hold several events, else one."""
        return 1 if tenant.options.envelope == "object" else 4

    def build_webhook_call(
        self, tenant: EgnyteTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Return a POST with the events as JSON and the secret in a header."""
        items = [{**event.body, "webhookId": hook.remote_id} for event in events]
        envelopes: dict[str, object] = {"array": items, "object": items[0], "events": {"events": items}}
        headers = {
            "User-Agent": "Egnyte-Webhooks/1.0",
            "Content-Type": "application/json",
            "Accept": "*/*",
            **self._auth_header(tenant, hook.config, bad_signature=bad_signature),
        }
        body = encode_text(json.dumps(envelopes[tenant.options.envelope]), tenant.options.body_encoding)
        return WebhookCall("POST", hook.url, headers, body)

    def _auth_header(self, tenant: EgnyteTenant, config: WebhookConfig, *, bad_signature: bool) -> dict[str, str]:
        wrong = f"wrong-{uuid.uuid4()}" if bad_signature else None
        if config.auth_header and config.auth_header_value:
            return {config.auth_header: wrong or config.auth_header_value}
        value = wrong or config.auth_header
        name = "Authentication" if tenant.options.auth_delivery == "authentication" else "Authorization"
        return {name: value} if value else {}


simulator = EgnyteConnectSimulator


def _invalid(name: str, problem: str) -> RefusedCall:
    return RefusedCall(400, "BAD_REQUEST", "The request is not valid", f"{name} {problem}", field=name)


def _object(call: Call) -> dict[str, object]:
    value = call.json_object()
    if value is None:
        raise RefusedCall(400, "BAD_REQUEST", "The body is not a JSON object")
    return value


def _text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise _invalid(name, "must be printable ASCII text")
    return value


def _read_path(body: Mapping[str, object]) -> str | None:
    value = body.get("path")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _invalid("path", "must be text")
    paths = _split_paths(value)
    if len(paths) > MAX_PATHS:
        raise _invalid("path", f"has {len(paths)} paths, more than {MAX_PATHS}")
    for path in paths:
        if not path.startswith("/"):
            raise _invalid("path", f"has {path!r}, which does not begin with a slash")
    return value


def _split_paths(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _find(tenant: EgnyteTenant, remote_id: str) -> Webhook:
    if remote_id not in tenant.hooks:
        raise RefusedCall(404, "NOT_FOUND", "Webhook not found", f"There is no webhook {remote_id}")
    return tenant.hooks[remote_id]


def _configure(hook: Webhook, config: WebhookConfig) -> None:
    hook.config, hook.url = config, config.url


def _set_enabled(hook: Webhook, status: object) -> None:
    if status not in ("enabled", "disabled"):
        raise _invalid("status", "must be enabled or disabled")
    hook.enabled = status == "enabled"
    if hook.enabled:
        hook.failures = 0


def _provider_fields(config: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a control call by the provider's names. Raises InvalidControlInput for unknown ones."""
    changes: dict[str, object] = {}
    for key, value in config.items():
        name = FIELD_ALIASES.get(key, key)
        if name not in FIELDS:
            raise InvalidControlInput(f"config.{key}: there is no such field")
        if name == "path" and isinstance(value, list):
            value = ",".join(str(path) for path in value)
        changes[name] = None if name == "eventType" and value == [] else value
    return changes
