"""Egnyte's server, as far as webhooks go: registration, status, details, whoami, throttling, leases, deliveries.

Where the real behaviour is unknown, an option chooses between the possible ones; its default is what we assume.
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

from providers.egnyte_connect.sample_events import World
from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.mashery import MasheryGateway, MasheryOptions
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
# Our words for their fields, for the sandbox's control calls
OUR_WORDS: Mapping[str, str] = {"event_types": "eventType", "paths": "path", "callback_url": "url"}
FIELDS = ("url", "eventType", "path", "authHeader", "authHeaderValue")


class EgnyteConnectOptions(MasheryOptions):
    """What can be asked of this simulator."""

    max_webhooks: int = Field(default=10, ge=0)
    update_extends: bool = True  # a PUT begins a new lease
    hide_auth_header: bool = False  # from details
    hide_url: bool = False  # from details
    # Which header carries authHeader. With an authHeaderValue it is always the header that authHeader names.
    auth_delivery: Literal["authorization", "authentication", "named"] = "authorization"
    envelope: Literal["array", "object", "events"] = "array"
    scopes: tuple[str, ...] = ("Egnyte.filesystem", "Egnyte.webhooks")
    administrator: bool = True  # the token's user; others may not touch webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """What a client configured, checked. No event types means all; `path` is the text as it was sent."""

    url: str
    event_types: tuple[str, ...] = ()
    path: str | None = None
    auth_header: str | None = field(default=None, repr=False)
    auth_header_value: str | None = field(default=None, repr=False)

    def paths(self) -> tuple[str, ...]:
        """The path filters; none means everywhere."""
        return tuple(path.rstrip("/") or "/" for path in _split_paths(self.path)) if self.path else ()

    def raw(self) -> dict[str, object]:
        """The same in their words, without what is not set."""
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
        """What registering, listing and status calls answer."""
        return {
            "webhookId": self.remote_id,
            "expires": None if self.expires_at is None else int(self.expires_at),
            "status": "enabled" if self.enabled else "disabled",
        }


class RefusalError(Exception):
    """A call that their server refuses, with what their error envelope says."""

    def __init__(self, status: int, code: str, message: str, details: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "details": details or message}
        self.field = field


EgnyteTenant = Tenant[Webhook, EgnyteConnectOptions]


class EgnyteConnectSimulator(Simulator[Webhook, EgnyteConnectOptions]):
    """Two Egnyte domains with an API each; the access token tells them apart."""

    slug = "egnyte-connect"
    paths: ClassVar[tuple[str, ...]] = (f"{PREFIX}/webhooks", f"{PREFIX}/whoami")
    event_types: ClassVar[tuple[str, ...]] = tuple(f"{group}:{name}" for group, n in EVENT_NAMES.items() for name in n)
    wildcards: ClassVar[frozenset[str]] = frozenset(f"{group}:*" for group in (*EVENT_NAMES, "user"))
    demo_config: ClassVar[dict[str, object]] = {
        "event_types": [f"{group}:*" for group in sorted(EVENT_NAMES)],
        "paths": [],
    }
    options_model = EgnyteConnectOptions

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """One domain each, with a token that never changes."""
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
    def _worlds(self) -> dict[LoginName, World]:
        return {login: World(domain, self.random) for login, domain in DOMAINS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """By the access token."""
        return TOKENS.get(call.bearer_token() or "")

    def error_response(self, status: int) -> Response:
        """Their error envelope."""
        body = {"code": f"ERROR_{status}", "message": f"The call failed with {status}.", "details": "Sandbox"}
        return Response(status, body, {"WWW-Authenticate": "Bearer"} if status == 401 else {})

    # -- The gateway ---------------------------------------------------------------------------------------------

    def serve(self, tenant: EgnyteTenant, call: Call) -> Response:
        """Two calls a second, and a day quota when asked for."""
        return self._gateway.serve(tenant, lambda: self.handle(tenant, call))

    def age_own_state(self, tenant: EgnyteTenant, seconds: float) -> None:
        """The limits recover."""
        self._gateway.age(tenant.login, seconds)

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: EgnyteTenant, call: Call) -> Response:
        """Registration and everything around it."""
        if not tenant.options.token_accepted:
            return self.error_response(401)
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                return Response(405, self.error_response(405).body, {"Allow": ", ".join(routes)})
            return routes[call.method]()
        except RefusalError as refusal:
            return Response(refusal.status, refusal.body)

    def _routes(self, tenant: EgnyteTenant, call: Call) -> dict[str, Callable[[], Response]]:
        parts = [unquote(part) for part in call.path.removeprefix(PREFIX).strip("/").split("/")]
        if parts != ["whoami"] and not tenant.options.administrator:
            raise RefusalError(403, "FORBIDDEN", "Insufficient permissions", "Only administrators manage webhooks")
        match parts:
            case ["whoami"]:
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
        raise RefusalError(404, "NOT_FOUND", "No such resource")

    def _whoami(self, tenant: EgnyteTenant) -> Response:
        domain = DOMAINS[tenant.login]
        scopes = list(tenant.options.scopes)
        return Response(
            200, {"clientId": "hweb8adyh3gumiypa45qdgkm", "username": "johndoe", "domain": domain, "scopes": scopes}
        )

    def _list(self, tenant: EgnyteTenant) -> Response:
        return Response(200, [hook.summary() for hook in tenant.hooks.values()])

    def _register(self, tenant: EgnyteTenant, call: Call) -> Response:
        config = self._read_config(_object(call.body))
        if len(tenant.hooks) >= tenant.options.max_webhooks:
            raise RefusalError(
                409, "QUOTA_EXCEEDED", "The number of webhooks is limited",
                f"At most {tenant.options.max_webhooks} for one clientId and domain",
            )  # fmt: skip
        expires_at = time.time() + tenant.options.lease_seconds
        hook = Webhook(remote_id=str(uuid.uuid4()), url=config.url, config=config, expires_at=expires_at)
        tenant.hooks[hook.remote_id] = hook
        return Response(201, hook.summary())

    def _update(self, tenant: EgnyteTenant, hook: Webhook, call: Call) -> Response:
        body = _object(call.body)
        config = self._read_config(body)
        if body.get("status") is not None:
            _set_enabled(hook, body["status"])
        _configure(hook, config)
        if tenant.options.update_extends:
            hook.expires_at = time.time() + tenant.options.lease_seconds
        return Response(200, {})  # what it answers is not documented, so clients must not rely on it

    def _delete(self, tenant: EgnyteTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _set_status(self, hook: Webhook, call: Call) -> Response:
        _set_enabled(hook, _object(call.body).get("status"))
        return Response(200, hook.summary())

    def _shown_details(self, tenant: EgnyteTenant, hook: Webhook) -> dict[str, object]:
        hidden = {"authHeaderValue"}
        hidden |= {"url"} if tenant.options.hide_url else set()
        hidden |= {"authHeader"} if tenant.options.hide_auth_header else set()
        return {key: value for key, value in self.details(tenant, hook).items() if key not in hidden}

    def _read_config(self, body: Mapping[str, object]) -> WebhookConfig:
        """Checks a config as a whole. Raises RefusalError for the first field that is wrong."""
        auth_header, auth_value = _text(body, "authHeader"), _text(body, "authHeaderValue")
        if auth_value and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", auth_header or ""):
            raise _bad("authHeader", "must be the name of a header when authHeaderValue is given")
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
            raise _bad("url", "is required")
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _bad("url", "is not a URL")
        if not self.sender.accepts(url):
            raise _bad("url", "must begin with https://")
        return url

    def _read_event_types(self, body: Mapping[str, object]) -> tuple[str, ...]:
        value = body.get("eventType")
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise _bad("eventType", "must be a list with at least one event type")
        for name in value:
            if not isinstance(name, str) or (name not in self.event_types and name not in self.wildcards):
                raise _bad("eventType", f"{name} is not an event type")
        return tuple(value)

    # -- What the base asks --------------------------------------------------------------------------------------

    def details(self, tenant: EgnyteTenant, hook: Webhook) -> dict[str, object]:
        """Summary and config in their words."""
        return {**hook.summary(), **hook.config.raw()}

    def change(
        self, tenant: EgnyteTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merges the given fields into the config; an empty list or null clears one."""
        try:
            changed = self._read_config({**hook.config.raw(), **_their_words(config or {})})
            if status is not None:
                _set_enabled(hook, status)
        except RefusalError as refusal:
            name = refusal.field if refusal.field == "status" else f"config.{refusal.field}"
            raise InvalidControlInput(f"{name}: {refusal.body['details']}") from None
        _configure(hook, changed)

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """By name, by wildcard, or everything."""
        chosen = hook.config.event_types
        return not chosen or event_type in chosen or f"{event_type.partition(':')[0]}:*" in chosen

    def matches(self, hook: Webhook, event: Event) -> bool:
        """By type, and by place where the event has one: at or below a path filter."""
        if not self.matches_type(hook, event.type):
            return False
        filters = hook.config.paths()
        if not filters or not event.paths:
            return True
        return any(
            place == path or place.startswith(path.rstrip("/") + "/") for path in filters for place in event.paths
        )

    def make_event(self, tenant: EgnyteTenant, event_type: str, hook: Webhook) -> Event:
        """Something that happens at the tenant's domain."""
        return self._worlds[tenant.login].event(event_type, hook.config.paths())

    def batch_limit(self, tenant: EgnyteTenant) -> int:
        """Up to four, where the envelope can hold several."""
        return 1 if tenant.options.envelope == "object" else 4

    def build_webhook_call(
        self, tenant: EgnyteTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """POST with the events as JSON and the secret in a header."""
        items = [{**event.body, "webhookId": hook.remote_id} for event in events]
        envelopes: dict[str, object] = {"array": items, "object": items[0], "events": {"events": items}}
        headers = {
            "User-Agent": "Egnyte-Webhooks/1.0",
            "Content-Type": "application/json",
            "Accept": "*/*",
            **self._proof(tenant, hook.config, bad_signature=bad_signature),
        }
        return WebhookCall("POST", hook.url, headers, json.dumps(envelopes[tenant.options.envelope]).encode())

    def _proof(self, tenant: EgnyteTenant, config: WebhookConfig, *, bad_signature: bool) -> dict[str, str]:
        wrong = f"wrong-{uuid.uuid4()}" if bad_signature else None
        if config.auth_header and config.auth_header_value:
            return {config.auth_header: wrong or config.auth_header_value}
        value = wrong or config.auth_header
        name = "Authentication" if tenant.options.auth_delivery == "authentication" else "Authorization"
        return {name: value} if value else {}


simulator = EgnyteConnectSimulator


def _bad(name: str, problem: str) -> RefusalError:
    return RefusalError(400, "BAD_REQUEST", "The request is not valid", f"{name} {problem}", field=name)


def _object(body: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "BAD_REQUEST", "The body is not JSON") from None
    if not isinstance(value, dict):
        raise RefusalError(400, "BAD_REQUEST", "The body is not an object")
    return value


def _text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise _bad(name, "must be printable ASCII text")
    return value


def _read_path(body: Mapping[str, object]) -> str | None:
    value = body.get("path")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _bad("path", "must be text")
    paths = _split_paths(value)
    if len(paths) > MAX_PATHS:
        raise _bad("path", f"has {len(paths)} paths, more than {MAX_PATHS}")
    for path in paths:
        if not path.startswith("/"):
            raise _bad("path", f"has {path!r}, which does not begin with a slash")
    return value


def _split_paths(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _find(tenant: EgnyteTenant, remote_id: str) -> Webhook:
    if remote_id not in tenant.hooks:
        raise RefusalError(404, "NOT_FOUND", "Webhook not found", f"There is no webhook {remote_id}")
    return tenant.hooks[remote_id]


def _configure(hook: Webhook, config: WebhookConfig) -> None:
    hook.config, hook.url = config, config.url


def _set_enabled(hook: Webhook, status: object) -> None:
    if status not in ("enabled", "disabled"):
        raise _bad("status", "must be enabled or disabled")
    hook.enabled = status == "enabled"
    if hook.enabled:
        hook.failures = 0


def _their_words(config: Mapping[str, object]) -> dict[str, object]:
    """The fields of a control call in their words. Raises InvalidControlInput for one that does not exist."""
    changes: dict[str, object] = {}
    for key, value in config.items():
        name = OUR_WORDS.get(key, key)
        if name not in FIELDS:
            raise InvalidControlInput(f"config.{key}: there is no such field")
        if name == "path" and isinstance(value, list):
            value = ",".join(str(path) for path in value)
        changes[name] = None if name == "eventType" and value == [] else value
    return changes
