"""Simulate Entrust's webhook API: login, registration, permissions, expiry, the test call and signed deliveries.

Where the real behavior is unconfirmed, an option selects it; the default is the behavior that the plug-in assumes. An
expiry is requested in days, but a lease lasts at most `lease_seconds` here, so that renewals can be observed.
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
from typing import Annotated, ClassVar, Literal
from urllib.parse import unquote

from pydantic import Field

from providers.entrust.sample_events import SampleCustomer
from providers.entrust.simulated_requests import (
    ApiError,
    WebhookProperties,
    api_properties,
    parse_object,
    parse_properties,
    parse_test_url,
)
from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.odd_bodies import encode_text
from providers.sandbox.tenant import Batch, Event, Hook, LoginName, Options, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall

WEBHOOKS_PATH = "/api/web/v1/webhooks"
AUTHENTICATE_PATH = "/api/web/v1/adminapi/authenticate"
Permission = Literal["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
PERMISSIONS: tuple[Permission, ...] = ("WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE")
SECONDS_A_DAY = 86400
EVENT_TYPES = (
    "user.created", "user.updated", "user.deleted", "user.registration.completed", "authentication.succeeded",
    "authentication.failed", "password.updated", "magiclink.email.sent", "grid.created", "grid.email.sent",
    "grid.password.email.sent", "passkey.created", "passkey.updated", "passkey.deleted", "kba.question.created",
    "token.created", "token.activated", "token.activated.online", "token.seed.rotated", "hardware.token.assigned",
    "face.biometric.created", "credential.create", "credential.update", "credential.delete", "credential.print",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Customer:
    """One of the two simulated customers, with fixed credentials."""

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
    """The options of this simulator."""

    retry_delays: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = (2.0, 4.0)
    failures_until_disabled: int = Field(default=100, ge=1)
    token_seconds: float = Field(default=900.0, gt=0)  # lifetime of an access token
    permissions: tuple[Permission, ...] = PERMISSIONS  # of the application's role
    # True (from version 5.46 on): a name is required, and a test call may name a URL; false: both are refused
    knows_name: bool = True
    max_active: int = Field(default=20, ge=0)
    update_extends: bool = True  # a PUT with an expiry starts a new lease
    without_expiry: Literal["clear", "keep"] = "clear"  # the effect of a PUT without an expiry on the lease
    expand_events: bool = False  # an empty list of events is shown as all event types
    digest: Literal["sha-256", "sha-512"] = "sha-256"
    signature_age: float = 0.0  # seconds since the signature was created; negative: in the future
    # What happens to the signature headers after signing
    on_the_way: Literal["nothing", "spaced anew", "unpadded", "repeated digest"] = "nothing"
    signature: Literal["rfc9421", "body"] = "rfc9421"  # body: x-sha2-signature, as before RFC 9421
    key_form: Literal["text", "base64"] = "text"


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook. Each event is `{id, type}`, with a `filter` if one was given."""

    name: str | None
    events: list[dict[str, str]]
    token: str = field(repr=False)
    test_url: str | None = None  # where the last test call sends its payload, instead of to `url`

    def describe(self) -> dict[str, object]:
        """Return the webhook as responses contain it. An expired webhook is shown as disabled."""
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


@dataclass(slots=True)
class AccessToken:
    """An access token and the login that it belongs to."""

    login: LoginName
    expires_at: float


EntrustTenant = Tenant[Webhook, EntrustOptions]


class EntrustSimulator(Simulator[Webhook, EntrustOptions]):
    """Two Entrust customers behind one API; the access token identifies the customer."""

    slug = "entrust"
    collection = WEBHOOKS_PATH
    paths: ClassVar[tuple[str, ...]] = (WEBHOOKS_PATH, AUTHENTICATE_PATH)
    event_types: ClassVar[tuple[str, ...]] = EVENT_TYPES
    answer_within: ClassVar[float] = 3.0
    demo_config: ClassVar[dict[str, object]] = {"events": [{"type": name} for name in EVENT_TYPES], "expiry_days": 90}
    options_model = EntrustOptions

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return one login per customer."""
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
    def _sample_customers(self) -> dict[LoginName, SampleCustomer]:
        return {login: SampleCustomer(item.name, item.account_id, self.random) for login, item in CUSTOMERS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """Identify the login by the access token, or by the credentials of an authenticate call."""
        if call.path == AUTHENTICATE_PATH:
            return _login_of_credentials(call.body)
        token = self._tokens.get(call.bearer_token() or call.headers.get("authorization", ""))
        return token.login if token and token.expires_at > time.time() else None

    def error_response(self, status: int) -> Response:
        """Return an error in Entrust's format."""
        code = {401: "access_denied", 403: "forbidden"}.get(status, f"error_{status}")
        return Response(
            status, {"errorCode": code, "errorMessage": f"The call failed with {status}.", "parameters": []}
        )

    def obtains_token(self, call: Call) -> bool:
        """Return whether this is the authenticate call."""
        return call.path == AUTHENTICATE_PATH

    def age_extra_state(self, tenant: EntrustTenant, seconds: float) -> None:
        """Move the expiry of access tokens forward."""
        for token in self._tokens.values():
            if token.login == tenant.login:
                token.expires_at -= seconds

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: EntrustTenant, call: Call) -> Response:
        """Route a call, check its permission and handle it."""
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                return Response(405, self.error_response(405).body, {"Allow": ", ".join(routes)})
            permission, respond = routes[call.method]
            if permission and permission not in tenant.options.permissions:
                return self.error_response(403)
            return respond()
        except ApiError as error:
            return Response(error.status, error.body)

    def _routes(self, tenant: EntrustTenant, call: Call) -> dict[str, tuple[str, Callable[[], Response]]]:
        """Return the required permission and the handler of each method of a path."""
        add, view, edit, remove = PERMISSIONS
        if call.path == AUTHENTICATE_PATH:
            return {"POST": ("", lambda: self._authenticate(tenant))}
        match [unquote(part) for part in call.path.removeprefix(WEBHOOKS_PATH).split("/")[1:]]:
            case []:
                return {
                    "GET": (view, lambda: Response(200, [_shown(tenant, hook) for hook in tenant.hooks.values()])),
                    "POST": (add, lambda: self._register(tenant, call)),
                }
            case ["test", remote_id]:
                return {"POST": (edit, lambda: self._test(tenant, _find(tenant, remote_id), call))}
            case [remote_id]:
                return {
                    "GET": (view, lambda: Response(200, _shown(tenant, _find(tenant, remote_id)))),
                    "PUT": (edit, lambda: self._update(tenant, _find(tenant, remote_id), call)),
                    "DELETE": (remove, lambda: self._delete(tenant, _find(tenant, remote_id))),
                }
        raise ApiError(404, "not_found", "No such resource")

    def _authenticate(self, tenant: EntrustTenant) -> Response:
        now = time.time()
        for expired in [value for value, token in self._tokens.items() if token.expires_at <= now]:
            del self._tokens[expired]
        value = f"sandbox.{secrets.token_urlsafe(24)}"
        self._tokens[value] = AccessToken(tenant.login, now + tenant.options.token_seconds)
        expires_at = _local_time(self._tokens[value].expires_at)
        return Response(
            200, {"authToken": value, "creationTime": f"{_local_time(now)}Z", "expirationTime": f"{expires_at}Z"}
        )

    def _register(self, tenant: EntrustTenant, call: Call) -> Response:
        properties = self._parse(tenant, parse_object(call.body))
        hook = Webhook(
            remote_id=str(uuid.uuid4()),
            url=properties.url,
            name=properties.name,
            enabled=properties.enabled is not False,
            events=properties.events,
            expires_at=_lease(tenant, properties.expiry or 0),
            token=base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        if hook.enabled:
            _require_free_slot(tenant)
        tenant.hooks[hook.remote_id] = hook
        return Response(200, {**_shown(tenant, hook), "token": hook.token})

    def _update(self, tenant: EntrustTenant, hook: Webhook, call: Call) -> Response:
        properties = self._parse(tenant, parse_object(call.body))
        if properties.enabled and not hook.is_live(time.time()):
            _require_free_slot(tenant)
        self._apply(tenant, hook, properties)
        return Response(200, _shown(tenant, hook))

    def _apply(self, tenant: EntrustTenant, hook: Webhook, properties: WebhookProperties) -> None:
        hook.url, hook.events, hook.name = properties.url, properties.events, properties.name
        if properties.enabled is not None:
            hook.enabled = properties.enabled
            hook.failures = 0 if properties.enabled else hook.failures
        if properties.expiry is None:
            hook.expires_at = hook.expires_at if tenant.options.without_expiry == "keep" else None
        elif hook.expires_at is None or properties.expiry == 0 or tenant.options.update_extends:
            hook.expires_at = _lease(tenant, properties.expiry)

    def _delete(self, tenant: EntrustTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(200)

    def _test(self, tenant: EntrustTenant, hook: Webhook, call: Call) -> Response:
        """Send a test payload. The real one is unconfirmed, so this one deliberately differs from an event."""
        hook.test_url = parse_test_url(call.body, supports_url=tenant.options.knows_name, accepts=self.sender.accepts)
        event = Event(id="", type="", body={"message": "This is a test of your webhook."})
        self._submit(Batch(login=tenant.login, remote_id=hook.remote_id, events=(event,)))
        return Response(200)

    def _parse(self, tenant: EntrustTenant, body: Mapping[str, object]) -> WebhookProperties:
        return parse_properties(body, supports_name=tenant.options.knows_name, accepts=self.sender.accepts)

    # -- Hooks of the base class ---------------------------------------------------------------------------------

    def details(self, tenant: EntrustTenant, hook: Webhook) -> dict[str, object]:
        """Return the webhook with its token, which Entrust's own responses show only once."""
        return {**hook.describe(), "token": hook.token}

    def change(
        self, tenant: EntrustTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merge the given properties; `status` is enabled or disabled, and an expiry starts a new lease."""
        if status not in (None, "enabled", "disabled"):
            raise InvalidControlInput("status: must be enabled or disabled")
        changes = api_properties(config or {})
        if status is not None:
            changes["enabled"] = status == "enabled"
        current = {"callbackUrl": hook.url, "events": hook.events}
        name = {"name": hook.name or "unnamed"} if tenant.options.knows_name else {}
        try:
            properties = self._parse(tenant, {**current, **name, **changes})
        except ApiError as error:
            raise InvalidControlInput(f"config.{error.parameter}: {error.body['parameters']}") from None
        expires_at = hook.expires_at
        self._apply(tenant, hook, properties)
        if properties.expiry is None:
            hook.expires_at = expires_at

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """Match by type; an empty list means all. The semantics of filters are unknown, so filters exclude nothing."""
        return not hook.events or any(item["type"] == event_type for item in hook.events)

    def is_received(self, status: int) -> bool:
        """Accept any 2xx status."""
        return 200 <= status < 300

    def should_retry(self, status: int | None) -> bool:
        """Retry only after a 5xx status."""
        return status is not None and status >= 500

    def make_event(self, tenant: EntrustTenant, event_type: str, hook: Webhook) -> Event:
        """Return a sample event of the customer."""
        return self._sample_customers[tenant.login].event(event_type)

    def build_webhook_call(
        self, tenant: EntrustTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Build a signed POST with one event as JSON."""
        body = encode_text(json.dumps(events[0].body), tenant.options.body_encoding)
        url = hook.url if events[0].type else hook.test_url or hook.url
        token = base64.b64encode(secrets.token_bytes(32)).decode() if bad_signature else hook.token
        key = base64.b64decode(token) if tenant.options.key_form == "base64" else token.encode()
        headers = {
            "User-Agent": "Entrust-IDaaS-Webhooks/1.0",
            "Content-Type": "application/json",
            "Accept": "*/*",
        }
        if tenant.options.signature == "body":
            headers["x-sha2-signature"] = hmac.new(key, body, hashlib.sha256).hexdigest()
        else:
            created = int(time.time() - tenant.options.signature_age)
            headers |= sign(
                key, url, body, digest=tenant.options.digest, created=created,
                repeated=tenant.options.on_the_way == "repeated digest",
            )  # fmt: skip
            headers |= _changed_on_the_way(headers, tenant.options.on_the_way)
        return WebhookCall("POST", url, headers, body)


simulator = EntrustSimulator


def _changed_on_the_way(headers: Mapping[str, str], change: str) -> dict[str, str]:
    """Return the signature headers that a proxy or a server changed without changing their meaning."""
    if change == "spaced anew":
        return {"Signature-Input": headers["Signature-Input"].replace('" "', '"  "').replace(";", "; ")}
    if change == "unpadded":
        return {"Signature": headers["Signature"].replace("=:", ":").replace("sig:", "sig=:")}
    if change == "repeated digest":
        return {"Content-Digest": headers["Content-Digest"].replace(", ", ",")}
    return {}


def sign(key: bytes, url: str, body: bytes, *, digest: str, created: int, repeated: bool = False) -> dict[str, str]:
    """Return the three signature headers of a delivery (RFC 9421, from Entrust's page on webhook signatures).

    `repeated`: the line of the digest is sent twice.
    """
    sha = hashlib.sha256 if digest == "sha-256" else hashlib.sha512
    content_digest = f"{digest}=:{base64.b64encode(sha(body).digest()).decode()}:"
    content_digest = f"{content_digest}, {content_digest}" if repeated else content_digest
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


def _login_of_credentials(body: bytes) -> LoginName | None:
    """Return the login to which the application credentials in a body belong, or None."""
    try:
        credentials: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(credentials, dict):
        return None
    pair = (credentials.get("applicationId"), credentials.get("sharedSecret"))
    return next((login for login, item in CUSTOMERS.items() if pair == (item.application_id, item.shared_secret)), None)


def _lease(tenant: EntrustTenant, days: int) -> float | None:
    return time.time() + min(tenant.options.lease_seconds, days * SECONDS_A_DAY) if days else None


def _require_free_slot(tenant: EntrustTenant) -> None:
    if len(tenant.live_hooks()) >= tenant.options.max_active:
        raise ApiError(
            409, "webhook_limit", f"The maximum number of active webhooks ({tenant.options.max_active}) is reached"
        )


def _local_time(moment: float) -> str:
    """Format a time in UTC without an offset, like Entrust's `expiryDate`."""
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _shown(tenant: EntrustTenant, hook: Webhook) -> dict[str, object]:
    described = hook.describe()
    if tenant.options.expand_events and not hook.events:
        described["events"] = [{"id": f"e{index}", "type": name} for index, name in enumerate(EVENT_TYPES)]
    return described


def _find(tenant: EntrustTenant, remote_id: str) -> Webhook:
    if remote_id not in tenant.hooks:
        raise ApiError(404, "entity_not_found", "Webhook not found")
    return tenant.hooks[remote_id]
