"""Entrust's server, as far as webhooks go: login, registration, permissions, expiry, the test call, signed deliveries.

Where the real behaviour is unknown, an option chooses between the possible ones; its default is what we assume. An
expiry is asked for in days, but a lease here lasts `lease_seconds`, so that a renewal can be waited for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from providers.entrust.sample_events import World
from providers.sandbox.base import BadInputError, Call, Reply, Simulator
from providers.sandbox.tenant import Batch, Event, Hook, LoginName, Options, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall

WEBHOOKS = "/api/web/v1/webhooks"
AUTHENTICATE = "/api/web/v1/adminapi/authenticate"
Permission = Literal["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
PERMISSIONS: tuple[Permission, ...] = ("WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE")
MAX_EXPIRY_DAYS = 1000
SECONDS_A_DAY = 86400
EVENT_TYPES = (
    "user.created", "user.updated", "user.deleted", "user.registration.completed", "authentication.succeeded",
    "authentication.failed", "password.updated", "magiclink.email.sent", "grid.created", "grid.email.sent",
    "grid.password.email.sent", "passkey.created", "passkey.updated", "passkey.deleted", "kba.question.created",
    "token.created", "token.activated", "token.activated.online", "token.seed.rotated", "hardware.token.assigned",
    "face.biometric.created", "credential.create", "credential.update", "credential.delete", "credential.print",
)  # fmt: skip
# Our words for their properties, for the sandbox's control calls
OUR_WORDS: Mapping[str, str] = {"expiry_days": "expiry", "callback_url": "callbackUrl"}
PROPERTIES = ("callbackUrl", "events", "name", "enabled", "expiry")


@dataclass(frozen=True, slots=True)
class Customer:
    """One of the two customers, with credentials that never change."""

    name: str
    account_id: str
    application_id: str
    shared_secret: str = field(repr=False)


CUSTOMERS: Mapping[LoginName, Customer] = {
    LoginName.SPARE: Customer(
        "acme",
        "6a1f8f0e-0f6b-4d0e-8a55-3f7c5d1e2b01",
        "3c9a7d52-51c4-4c0a-9d5e-0a8f2b6c4e11",
        "sandbox-entrust-spare-shared-secret",
    ),
    LoginName.DEMO: Customer(
        "globex",
        "d27c4b96-8a3d-4f1b-b6e0-91c5a7e3f402",
        "9e4b1f08-7d26-4b83-a1f7-6c2d8e5a3f22",
        "sandbox-entrust-demo-shared-secret",
    ),
}


class EntrustOptions(Options):
    """What can be asked of this simulator."""

    retry_delays: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = (2.0, 4.0)
    failures_until_disabled: int = Field(default=100, ge=1)
    token_seconds: float = Field(default=900.0, gt=0)  # how long an access token lives
    permissions: tuple[Permission, ...] = PERMISSIONS  # of the application's role
    knows_name: bool = True  # as from version 5.46 on: a name is needed; else it is refused
    max_active: int = Field(default=20, ge=0)
    update_extends: bool = True  # a PUT with an expiry begins a new lease
    without_expiry: Literal["clear", "keep"] = "clear"  # what a PUT without expiry does to the lease
    digest: Literal["sha-256", "sha-512"] = "sha-256"
    key_form: Literal["text", "base64"] = "text"


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook. Every event is `{id, type}`, with a `filter` where one was given."""

    name: str | None
    events: list[dict[str, str]]
    token: str = field(repr=False)

    def shown(self) -> dict[str, object]:
        """What every answer shows of it. When its time is over it counts as disabled."""
        expired = self.expires_at is not None and self.expires_at <= time.time()
        return {
            "id": self.remote_id,
            **({"name": self.name} if self.name is not None else {}),
            "callbackUrl": self.url,
            "enabled": self.enabled and not expired,
            "expired": expired,
            "expiryDate": None if self.expires_at is None else _local_time(self.expires_at),
            "events": self.events,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A webhook's properties as a client sent them, checked. None: not sent."""

    url: str
    events: list[dict[str, str]]
    name: str | None
    enabled: bool | None
    expiry: int | None


@dataclass(slots=True)
class AccessToken:
    """One access token."""

    login: LoginName
    expires_at: float


class RefusalError(Exception):
    """A call that their server refuses, with what their error body says."""

    def __init__(self, status: int, code: str, message: str, *parameters: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errorCode": code, "errorMessage": message, "parameters": list(parameters)}


EntrustTenant = Tenant[Webhook, EntrustOptions]


class EntrustSimulator(Simulator[Webhook, EntrustOptions]):
    """Two Entrust customers with an API each; the access token tells them apart."""

    slug = "entrust"
    paths: ClassVar[tuple[str, ...]] = (WEBHOOKS, AUTHENTICATE)
    event_types: ClassVar[tuple[str, ...]] = EVENT_TYPES
    answer_within: ClassVar[float] = 3.0
    demo_config: ClassVar[dict[str, object]] = {"events": [{"type": name} for name in EVENT_TYPES], "expiry_days": 90}
    options_model = EntrustOptions

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """One customer each."""
        spare, demo = (
            SandboxLogin(
                login=login,
                settings={"hostname": f"{customer.name}.us.trustedauth.com", "base_url": base_url},
                credentials={"application_id": customer.application_id, "shared_secret": customer.shared_secret},
            )
            for login, customer in CUSTOMERS.items()
        )
        return spare, demo

    @cached_property
    def _tokens(self) -> dict[str, AccessToken]:
        return {}

    @cached_property
    def _worlds(self) -> dict[LoginName, World]:
        return {login: World(item.name, item.account_id, self.random) for login, item in CUSTOMERS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """By the access token, or by the credentials that ask for one."""
        if call.path == AUTHENTICATE:
            return _owner_of(call.body)
        token = self._tokens.get(call.bearer_token() or call.headers.get("authorization", ""))
        return token.login if token and token.expires_at > time.time() else None

    def failure(self, status: int) -> Reply:
        """Their error body."""
        code = {401: "access_denied", 403: "forbidden"}.get(status, f"error_{status}")
        return Reply(status, {"errorCode": code, "errorMessage": f"The call failed with {status}.", "parameters": []})

    def logs_in(self, call: Call) -> bool:
        """The authenticate call."""
        return call.path == AUTHENTICATE

    def age_more(self, tenant: EntrustTenant, seconds: float) -> None:
        """Access tokens end sooner."""
        for token in self._tokens.values():
            if token.login == tenant.login:
                token.expires_at -= seconds

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: EntrustTenant, call: Call) -> Reply:
        """Login, registration and everything around it."""
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                return Reply(405, self.failure(405).body, {"Allow": ", ".join(routes)})
            permission, answer = routes[call.method]
            if permission and permission not in tenant.options.permissions:
                return self.failure(403)
            return answer()
        except RefusalError as refusal:
            return Reply(refusal.status, refusal.body)

    def _routes(self, tenant: EntrustTenant, call: Call) -> dict[str, tuple[str, Callable[[], Reply]]]:
        """Per method, the permission that it needs and what it does."""
        add, view, edit, remove = PERMISSIONS
        if call.path == AUTHENTICATE:
            return {"POST": ("", lambda: self._authenticate(tenant))}
        match [unquote(part) for part in call.path.removeprefix(WEBHOOKS).split("/")[1:]]:
            case []:
                return {
                    "GET": (view, lambda: Reply(200, [hook.shown() for hook in tenant.hooks.values()])),
                    "POST": (add, lambda: self._register(tenant, call)),
                }
            case ["test", remote_id]:
                return {"POST": (edit, lambda: self._test(tenant, _find(tenant, remote_id)))}
            case [remote_id]:
                return {
                    "GET": (view, lambda: Reply(200, _find(tenant, remote_id).shown())),
                    "PUT": (edit, lambda: self._update(tenant, _find(tenant, remote_id), call)),
                    "DELETE": (remove, lambda: self._delete(tenant, _find(tenant, remote_id))),
                }
        raise RefusalError(404, "not_found", "No such resource")

    def _authenticate(self, tenant: EntrustTenant) -> Reply:
        now = time.time()
        for old in [name for name, token in self._tokens.items() if token.expires_at <= now]:
            del self._tokens[old]
        name = f"sandbox.{secrets.token_urlsafe(24)}"
        self._tokens[name] = AccessToken(tenant.login, now + tenant.options.token_seconds)
        ends = _local_time(self._tokens[name].expires_at)
        return Reply(200, {"authToken": name, "creationTime": f"{_local_time(now)}Z", "expirationTime": f"{ends}Z"})

    def _register(self, tenant: EntrustTenant, call: Call) -> Reply:
        wanted = self._read(tenant, _object(call.body))
        hook = Webhook(
            remote_id=str(uuid.uuid4()),
            url=wanted.url,
            name=wanted.name,
            enabled=wanted.enabled is not False,
            events=wanted.events,
            expires_at=_lease(tenant, wanted.expiry or 0),
            token=base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        if hook.enabled:
            _need_room(tenant)
        tenant.hooks[hook.remote_id] = hook
        return Reply(200, {**hook.shown(), "token": hook.token})

    def _update(self, tenant: EntrustTenant, hook: Webhook, call: Call) -> Reply:
        wanted = self._read(tenant, _object(call.body))
        if wanted.enabled and not hook.is_live(time.time()):
            _need_room(tenant)
        self._apply(tenant, hook, wanted)
        return Reply(200, hook.shown())

    def _apply(self, tenant: EntrustTenant, hook: Webhook, wanted: Wanted) -> None:
        hook.url, hook.events, hook.name = wanted.url, wanted.events, wanted.name
        if wanted.enabled is not None:
            hook.enabled = wanted.enabled
            hook.failures = 0 if wanted.enabled else hook.failures
        if wanted.expiry is None:
            hook.expires_at = hook.expires_at if tenant.options.without_expiry == "keep" else None
        elif hook.expires_at is None or wanted.expiry == 0 or tenant.options.update_extends:
            hook.expires_at = _lease(tenant, wanted.expiry)

    def _delete(self, tenant: EntrustTenant, hook: Webhook) -> Reply:
        del tenant.hooks[hook.remote_id]
        return Reply(200)

    def _test(self, tenant: EntrustTenant, hook: Webhook) -> Reply:
        """Sends a dummy payload. What the real one holds is not known, so it is as little as possible like an event."""
        dummy = Event(id="", type="", body={"message": "This is a test of your webhook."})
        self._submit(Batch(login=tenant.login, remote_id=hook.remote_id, events=(dummy,)))
        return Reply(200)

    def _read(self, tenant: EntrustTenant, body: Mapping[str, object]) -> Wanted:
        """Checks the properties of a webhook. Raises RefusalError for the first that is wrong."""
        known = [name for name in PROPERTIES if name != "name" or tenant.options.knows_name]
        for unknown in (name for name in body if name not in known):
            raise RefusalError(400, "invalid_request", f'Unrecognized field "{unknown}"', unknown)
        name = body.get("name")
        if tenant.options.knows_name and not (isinstance(name, str) and name.strip()):
            raise _bad("name", "is required")
        enabled, expiry = body.get("enabled"), body.get("expiry")
        if enabled is not None and not isinstance(enabled, bool):
            raise _bad("enabled", "must be true or false")
        if expiry is not None and (
            not isinstance(expiry, int) or isinstance(expiry, bool) or not 0 <= expiry <= MAX_EXPIRY_DAYS
        ):
            raise _bad("expiry", f"must be a number from 0 to {MAX_EXPIRY_DAYS}")
        return Wanted(
            url=self._read_url(body.get("callbackUrl")),
            events=_read_events(body.get("events")),
            name=name if isinstance(name, str) else None,
            enabled=enabled,
            expiry=expiry,
        )

    def _read_url(self, url: object) -> str:
        if not isinstance(url, str) or not url:
            raise _bad("callbackUrl", "is required")
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        # The real one wants HTTPS. A sandbox also talks to the machine that it runs on, or is told to go there.
        local = usable and parts.scheme == "http" and (_is_loopback(parts.hostname or "") or self.courier.rewrites(url))
        if not usable or not url.isascii() or not (parts.scheme == "https" or local):
            raise _bad("callbackUrl", "must be a URL that begins with https://")
        return url

    # -- What the base asks --------------------------------------------------------------------------------------

    def details(self, tenant: EntrustTenant, hook: Webhook) -> dict[str, object]:
        """With the token, which their own answers show only once."""
        return {**hook.shown(), "token": hook.token}

    def change(
        self, tenant: EntrustTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merges the given properties. The status is enabled or disabled; an expiry begins a new lease."""
        if status not in (None, "enabled", "disabled"):
            raise BadInputError("status: must be enabled or disabled")
        changes = _their_words(config or {})
        if status is not None:
            changes["enabled"] = status == "enabled"
        now = {"callbackUrl": hook.url, "events": hook.events}
        named = {"name": hook.name or "unnamed"} if tenant.options.knows_name else {}
        try:
            wanted = self._read(tenant, {**now, **named, **changes})
        except RefusalError as refusal:
            raise BadInputError(f"config.{refusal.body['parameters'][0]}: {refusal}") from None
        ends = hook.expires_at
        self._apply(tenant, hook, wanted)
        if wanted.expiry is None:
            hook.expires_at = ends

    def wants_type(self, hook: Webhook, event_type: str) -> bool:
        """By name. What filters mean is not documented, so they keep nothing away."""
        return any(item["type"] == event_type for item in hook.events)

    def received(self, status: int) -> bool:
        """Any 2xx."""
        return 200 <= status < 300

    def worth_retrying(self, status: int | None) -> bool:
        """Only what the receiver itself calls its own trouble."""
        return status is not None and status >= 500

    def invent(self, tenant: EntrustTenant, event_type: str, hook: Webhook) -> Event:
        """Something that happens at the customer."""
        return self._worlds[tenant.login].event(event_type)

    def compose(
        self, tenant: EntrustTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """POST with one event as JSON, signed."""
        body = json.dumps(events[0].body).encode()
        token = base64.b64encode(secrets.token_bytes(32)).decode() if bad_signature else hook.token
        key = base64.b64decode(token) if tenant.options.key_form == "base64" else token.encode()
        headers = {
            "User-Agent": "Entrust-IDaaS-Webhooks/1.0",
            "Content-Type": "application/json",
            "Accept": "*/*",
            **sign(key, hook.url, body, digest=tenant.options.digest, created=int(time.time())),
        }
        return WebhookCall("POST", hook.url, headers, body)


simulator = EntrustSimulator


def sign(key: bytes, url: str, body: bytes, *, digest: str, created: int) -> dict[str, str]:
    """The three headers that prove a delivery (RFC 9421, as Entrust's page on webhook signatures has it)."""
    sha = hashlib.sha256 if digest == "sha-256" else hashlib.sha512
    content_digest = f"{digest}=:{base64.b64encode(sha(body).digest()).decode()}:"
    parameters = f'("@method" "@target-uri" "content-digest");created={created};alg="hmac-sha256"'
    base = (
        f'"@method": POST\n"@target-uri": {url}\n"content-digest": {content_digest}\n"@signature-params": {parameters}'
    )
    signature = base64.b64encode(hmac.new(key, base.encode(), hashlib.sha256).digest()).decode()
    return {
        "Content-Digest": content_digest,
        "Signature-Input": f"sig={parameters}",
        "Signature": f"sig=:{signature}:",
    }


def _owner_of(body: bytes) -> LoginName | None:
    """Whose application's credentials these are."""
    try:
        sent: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(sent, dict):
        return None
    pair = (sent.get("applicationId"), sent.get("sharedSecret"))
    return next((login for login, item in CUSTOMERS.items() if pair == (item.application_id, item.shared_secret)), None)


def _lease(tenant: EntrustTenant, days: int) -> float | None:
    return time.time() + min(tenant.options.lease_seconds, days * SECONDS_A_DAY) if days else None


def _need_room(tenant: EntrustTenant) -> None:
    if len(tenant.live_hooks()) >= tenant.options.max_active:
        raise RefusalError(
            409, "webhook_limit", f"The maximum number of active webhooks ({tenant.options.max_active}) is reached"
        )


def _local_time(moment: float) -> str:
    """UTC without an offset, as their expiryDate."""
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _find(tenant: EntrustTenant, remote_id: str) -> Webhook:
    if remote_id not in tenant.hooks:
        raise RefusalError(404, "entity_not_found", "Webhook not found")
    return tenant.hooks[remote_id]


def _object(body: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RefusalError(400, "invalid_request", "The body is no JSON object")
    return value


def _bad(name: str, problem: str) -> RefusalError:
    return RefusalError(400, "invalid_request", f"{name} {problem}", name)


def _read_events(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise _bad("events", "must be a list with at least one event")
    events: list[dict[str, str]] = []
    for index, item in enumerate(value):
        name, text = (item.get("type"), item.get("filter")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not name.strip():
            raise _bad(f"events[{index}].type", "is required")
        if text is not None and not isinstance(text, str):
            raise _bad(f"events[{index}].filter", "must be text")
        events.append({"id": str(uuid.uuid4()), "type": name, **({"filter": text} if text is not None else {})})
    return events


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _their_words(config: Mapping[str, object]) -> dict[str, object]:
    """The properties of a control call in their words. Raises BadInputError for one that does not exist."""
    changes = {OUR_WORDS.get(key, key): value for key, value in config.items()}
    for name in changes:
        if name not in PROPERTIES:
            raise BadInputError(f"config.{name}: there is no such property")
    return changes
