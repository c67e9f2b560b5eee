"""SideDrawer's server, as far as webhooks go: developer login, registration, leases, signed deliveries with retries.

Paths, envelopes and bodies of the real one are not published. What is here is what the plug-in assumes, and an option
for each other possibility.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_address
from typing import ClassVar, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field

from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.tenant import Event, Hook, LoginName, Options, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall
from providers.sidedrawer.sample_events import World
from providers.times import iso_time

WEBHOOKS = "/api/v1/webhooks"
DEVELOPERS = "/api/v1/developers"
MODIFICATIONS = ("create", "update", "delete")
DRAWER = "tenant/{tenantId}/sidedrawer/{sidedrawerId}"
# Their resources, and the kinds of things that a webhook about each hears of
RESOURCES: Mapping[str, tuple[str, ...]] = {
    "tenant/{tenantId}/sidedrawer": ("sidedrawer",),
    f"{DRAWER}/record": ("record",),
    f"{DRAWER}/record/{{recordId}}": ("record",),
    f"{DRAWER}/record/{{recordId}}/network": ("record-network",),
    f"{DRAWER}/record/{{recordId}}/files": ("file",),
    f"{DRAWER}/inbox": ("inbox",),
    f"{DRAWER}/network": ("sidedrawer-network",),
    f"{DRAWER}/plan-request": ("plan-request", "plan-item"),
    f"{DRAWER}/plan-request/{{planRequestId}}": ("plan-request", "plan-item"),
    f"{DRAWER}/plan-request/{{planRequestId}}/item": ("plan-item",),
    f"{DRAWER}/plan-request/{{planRequestId}}/item/{{planItemId}}": ("plan-item",),
    "tenant/{tenantId}/network/{openId}": ("network",),
    "subscription/{subscriptionid}/license": ("license",),
}
ONE_THING = ("{recordId}", "{planRequestId}", "{planItemId}")  # templates that end so are about one thing


@dataclass(frozen=True, slots=True)
class Facts:
    """What one tenant has from the start; none of it ever changes."""

    tenant_id: str
    brand: str
    token: str
    client_id: str
    client_secret: str
    drawer: str
    record: str
    open_id: str
    subscription: str


TENANTS: Mapping[LoginName, Facts] = {
    LoginName.SPARE: Facts(
        tenant_id="66f0a1b2c3d4e5f601230001",
        brand="acme",
        token="sandbox-sidedrawer-spare-token",  # noqa: S106 - of a simulation
        client_id="sandbox-sidedrawer-spare-client",
        client_secret="sandbox-sidedrawer-spare-secret",  # noqa: S106 - of a simulation
        drawer="66f0a1b2c3d4e5f6012300d1",
        record="66f0a1b2c3d4e5f6012300e1",
        open_id="auth0|66f0a1b2c3d4e5f6012300f1",
        subscription="66f0a1b2c3d4e5f6012300a1",
    ),
    LoginName.DEMO: Facts(
        tenant_id="66f0a1b2c3d4e5f601230002",
        brand="globex",
        token="sandbox-sidedrawer-demo-token",  # noqa: S106 - of a simulation
        client_id="sandbox-sidedrawer-demo-client",
        client_secret="sandbox-sidedrawer-demo-secret",  # noqa: S106 - of a simulation
        drawer="66f0a1b2c3d4e5f6012300d2",
        record="66f0a1b2c3d4e5f6012300e2",
        open_id="auth0|66f0a1b2c3d4e5f6012300f2",
        subscription="66f0a1b2c3d4e5f6012300a2",
    ),
}
# Our words for their fields, for the sandbox's control calls
OUR_WORDS: Mapping[str, str] = {
    "callback_url": "notificationUrl",
    "resource": "resource",
    "modification_type": "modificationType",
    "connection_type": "connectionType",
    "brand_code": "brandCode",
    "notification_messages": "notificationMessages",
    "max_retries": "maxRetries",
}
FIELDS = (
    "modificationType", "connectionType", "notificationUrl", "resource", "expirationDateTime", "brandCode",
    "notificationMessages", "integrityKey", "maxRetries",
)  # fmt: skip
STATUSES: Mapping[str, bool] = {"active": True, "enabled": True, "inactive": False, "disabled": False}


class SideDrawerOptions(Options):
    """What can be asked of this simulator."""

    token_seconds: float = Field(default=300.0, gt=0, le=30 * 86400)  # life of a token from the developer login
    max_webhooks: int = Field(default=100, ge=0)
    paths_missing: bool = False  # the real paths are others: 404 on all of them
    item_path_missing: bool = False  # 404 on the path of one webhook
    allow_update: bool = True  # otherwise PUT is 405
    update_extends: bool = True  # a PUT begins a new lease
    update_enables: bool = True  # a PUT switches on what was switched off
    modification_case: Literal["any", "lower", "capitalised"] = "any"
    id_field: Literal["id", "_id", "subscriptionId", "webhookId", "uuid"] = "id"
    show_status: bool = True
    hide_integrity_key: bool = False
    list_envelope: Literal["page", "array"] = "page"
    page_size: int = Field(default=50, ge=1)
    next_page: Literal["url", "path", "query", "cursor"] = "url"
    hash_header: str = Field(default="integrityHash", min_length=1)
    hash_encoding: Literal["hex", "HEX", "base64", "base64url", "sha256=hex", "sha256=base64"] = "hex"
    body_style: Literal["resource", "event", "list"] = "resource"
    encrypt_bodies: bool = False  # with the integrity key


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """What a client configured, checked."""

    modification_type: str  # as it was sent
    resource: str
    template: str
    expires_at: float
    connection_type: str = "HTTP"
    notification_url: str | None = None
    brand_code: str | None = None
    notification_messages: str | None = None
    integrity_key: str | None = field(default=None, repr=False)
    max_retries: int = 0

    def raw(self) -> dict[str, object]:
        """The same in their words."""
        return {
            "modificationType": self.modification_type,
            "connectionType": self.connection_type,
            "notificationUrl": self.notification_url,
            "resource": self.resource,
            "expirationDateTime": _iso(self.expires_at),
            "brandCode": self.brand_code,
            "notificationMessages": self.notification_messages,
            "integrityKey": self.integrity_key,
            "maxRetries": self.max_retries,
        }


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook subscription."""

    config: WebhookConfig

    def is_live(self, now: float) -> bool:
        """Whether events are sent to it over HTTP: those of a SOCKET subscription go over a socket."""
        return Hook.is_live(self, now) and self.config.connection_type == "HTTP"


@dataclass(slots=True)
class IssuedToken:
    """A token from the developer login."""

    login: LoginName
    expires_at: float


class RefusalError(Exception):
    """A call that their server refuses; `fields` are complaints by field."""

    def __init__(self, status: int, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.fields = dict(fields or {})

    def reply(self) -> Response:
        """In the envelope of their framework: one text, or a list of complaints."""
        said = [f"{name} {problem}" for name, problem in self.fields.items()]
        return _error(self.status, said or str(self))


SideDrawerTenant = Tenant[Webhook, SideDrawerOptions]


class SideDrawerSimulator(Simulator[Webhook, SideDrawerOptions]):
    """Two SideDrawer tenants; the token tells them apart. The spare login has a token, the demo one logs in."""

    slug = "sidedrawer"
    paths: ClassVar[tuple[str, ...]] = (WEBHOOKS, DEVELOPERS)
    event_types: ClassVar[tuple[str, ...]] = tuple(
        f"{kind}.{modification}"
        for kind in dict.fromkeys(kind for kinds in RESOURCES.values() for kind in kinds)
        for modification in MODIFICATIONS
    )
    # One webhook is about one resource: the first of `demo_configs`.
    demo_config: ClassVar[dict[str, object]] = {
        "resource": f"tenant/{TENANTS[LoginName.DEMO].tenant_id}/sidedrawer",
        "modification_type": "any",
    }
    options_model = SideDrawerOptions

    def demo_configs(self) -> dict[str, dict[str, object]]:
        """One webhook for each resource that is needed to hear of everything."""
        facts = TENANTS[LoginName.DEMO]
        drawer = f"tenant/{facts.tenant_id}/sidedrawer/{facts.drawer}"
        resources = {
            "Folders": f"{drawer}/record",
            "Collaborators of a folder": f"{drawer}/record/{facts.record}/network",
            "Files": f"{drawer}/record/{facts.record}/files",
            "Inbox": f"{drawer}/inbox",
            "Collaborators of a drawer": f"{drawer}/network",
            "Plans and items": f"{drawer}/plan-request",
            "Collaborations of a person": f"tenant/{facts.tenant_id}/network/{facts.open_id}",
            "Licenses": f"subscription/{facts.subscription}/license",
        }
        return {
            "Drawers": self.demo_config,
            **{title: {"resource": path, "modification_type": "any"} for title, path in resources.items()},
        }

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """One tenant each, with credentials that never change."""
        spare, demo = TENANTS[LoginName.SPARE], TENANTS[LoginName.DEMO]
        return (
            SandboxLogin(
                login=LoginName.SPARE,
                settings={"tenant_id": spare.tenant_id, "environment": "sandbox", "base_url": base_url},
                credentials={"access_token": spare.token},
            ),
            SandboxLogin(
                login=LoginName.DEMO,
                settings={"tenant_id": demo.tenant_id, "environment": "sandbox", "base_url": base_url},
                credentials={"client_id": demo.client_id, "client_secret": demo.client_secret},
            ),
        )

    @cached_property
    def _tokens(self) -> dict[str, IssuedToken]:
        return {}

    @cached_property
    def _worlds(self) -> dict[LoginName, World]:
        return {login: World(facts.tenant_id, facts.brand, self.random) for login, facts in TENANTS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """By the access token; for the developer login by tenant, client and secret."""
        if self.obtains_token(call):
            return _client_of(call)
        token = call.bearer_token() or ""
        issued = self._tokens.get(token)
        if issued is not None:
            return issued.login if time.time() < issued.expires_at else None
        return next((login for login, facts in TENANTS.items() if facts.token == token), None)

    def obtains_token(self, call: Call) -> bool:
        """The developer login only."""
        return call.path.startswith(f"{DEVELOPERS}/")

    def error_response(self, status: int) -> Response:
        """Their error envelope."""
        return _error(status, "Unauthorized" if status == 401 else f"The call failed with {status}.")

    def age_own_state(self, tenant: SideDrawerTenant, seconds: float) -> None:
        """Tokens get older."""
        for issued in self._tokens.values():
            if issued.login == tenant.login:
                issued.expires_at -= seconds

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: SideDrawerTenant, call: Call) -> Response:
        """Logging in, registration and everything around it."""
        if self.obtains_token(call):
            return self._log_in(tenant)
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                raise RefusalError(405, f"Cannot {call.method} {call.path}")
            return routes[call.method]()
        except RefusalError as refusal:
            return refusal.reply()

    def _routes(self, tenant: SideDrawerTenant, call: Call) -> dict[str, Callable[[], Response]]:
        options = tenant.options
        parts = [unquote(part) for part in call.path.removeprefix(WEBHOOKS).split("/") if part]
        if options.paths_missing or len(parts) > 1 or (parts and options.item_path_missing):
            raise RefusalError(404, f"Cannot {call.method} {call.path}")
        if not parts:
            return {"GET": lambda: self._list(tenant, call), "POST": lambda: self._register(tenant, call)}
        hook = tenant.hooks.get(parts[0])
        if hook is None:
            raise RefusalError(404, "Webhook subscription not found")
        routes = {"GET": lambda: Response(200, self._shown(tenant, hook)), "DELETE": lambda: self._delete(tenant, hook)}
        return {**routes, "PUT": lambda: self._update(tenant, hook, call)} if options.allow_update else routes

    def _log_in(self, tenant: SideDrawerTenant) -> Response:
        now = time.time()
        for token in [token for token, issued in self._tokens.items() if issued.expires_at <= now]:
            del self._tokens[token]
        token, seconds = f"sdtok.{secrets.token_urlsafe(24)}", tenant.options.token_seconds
        self._tokens[token] = IssuedToken(tenant.login, now + seconds)
        return Response(201, {"access_token": token, "expires_in": int(seconds), "token_type": "Bearer"})

    def _list(self, tenant: SideDrawerTenant, call: Call) -> Response:
        options = tenant.options
        hooks = list(tenant.hooks.values())
        if options.list_envelope == "array":
            return Response(200, [self._shown(tenant, hook) for hook in hooks])
        after = parse_qs(call.query).get("startingAfter", [""])[0]
        ids = [hook.remote_id for hook in hooks]
        start = ids.index(after) + 1 if after in ids else 0
        page = hooks[start : start + options.page_size]
        more = start + options.page_size < len(hooks)
        return Response(
            200,
            {
                "data": [self._shown(tenant, hook) for hook in page],
                "hasMore": more,
                "nextPage": self._next_page(options, page[-1].remote_id) if more else None,
                "previousPage": None,
                "totalCount": len(hooks),
            },
        )

    def _next_page(self, options: SideDrawerOptions, last: str) -> str:
        query = f"?startingAfter={quote(last)}"
        ways = {"url": f"https://api.sidedrawer.example{WEBHOOKS}{query}", "path": f"{WEBHOOKS}{query}", "query": query}
        return ways.get(options.next_page, last)

    def _register(self, tenant: SideDrawerTenant, call: Call) -> Response:
        config = self._read_config(tenant, _object(call.body))
        if len(tenant.hooks) >= tenant.options.max_webhooks:
            raise RefusalError(409, f"At most {tenant.options.max_webhooks} webhook subscriptions are allowed")
        remote_id = self._worlds[tenant.login].new_id()
        hook = Webhook(remote_id=remote_id, url="", config=config)
        self._configure(tenant, hook, config, extend=True)
        tenant.hooks[remote_id] = hook
        return Response(201, self._shown(tenant, hook))

    def _update(self, tenant: SideDrawerTenant, hook: Webhook, call: Call) -> Response:
        config = self._read_config(tenant, _object(call.body))
        self._configure(tenant, hook, config, extend=tenant.options.update_extends)
        if tenant.options.update_enables and not hook.enabled:
            hook.enabled, hook.failures = True, 0
        return Response(200, self._shown(tenant, hook))

    def _delete(self, tenant: SideDrawerTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _configure(self, tenant: SideDrawerTenant, hook: Webhook, config: WebhookConfig, *, extend: bool) -> None:
        """Takes a config over. Nobody gets a longer life than the sandbox grants."""
        if extend or hook.expires_at is None:
            hook.expires_at = min(config.expires_at, time.time() + tenant.options.lease_seconds)
        hook.config, hook.url = config, config.notification_url or ""

    def _shown(self, tenant: SideDrawerTenant, hook: Webhook) -> dict[str, object]:
        hidden = {"integrityKey"} if tenant.options.hide_integrity_key else set()
        hidden |= set() if tenant.options.show_status else {"status"}
        return {key: value for key, value in self.details(tenant, hook).items() if key not in hidden}

    # -- Checking what clients send ------------------------------------------------------------------------------

    def _read_config(self, tenant: SideDrawerTenant, body: Mapping[str, object]) -> WebhookConfig:
        """Checks a webhook as a whole. Raises RefusalError with a complaint for each field that is wrong."""
        template, expires_at = _template_of(body.get("resource")), _time(body.get("expirationDateTime"))
        wrong = {**self._complaints(tenant, body), **self._connection_complaints(body)}
        if wrong or template is None or expires_at is None:
            raise RefusalError(400, "Bad Request", wrong)
        resource = str(body["resource"])
        if resource.startswith("tenant/") and resource.split("/")[1] != TENANTS[tenant.login].tenant_id:
            raise RefusalError(403, "You do not belong to this tenant")
        return WebhookConfig(
            modification_type=str(body["modificationType"]),
            resource=resource,
            template=template,
            expires_at=expires_at,
            connection_type=str(body.get("connectionType") or "HTTP"),
            notification_url=_text(body.get("notificationUrl")),
            brand_code=_text(body.get("brandCode")),
            notification_messages=_text(body.get("notificationMessages")),
            integrity_key=_text(body.get("integrityKey")),
            max_retries=int(str(body.get("maxRetries") or 0)),
        )

    def _complaints(self, tenant: SideDrawerTenant, body: Mapping[str, object]) -> dict[str, str]:
        wrong = {name: "should not exist" for name in body if name not in FIELDS}
        if not _case_fits(body.get("modificationType"), tenant.options.modification_case):
            wrong["modificationType"] = "must be one of the following values: create, delete, update, any"
        if _template_of(body.get("resource")) is None:
            wrong["resource"] = "is not a known resource path"
        retries = body.get("maxRetries") or 0
        if type(retries) is not int or not 0 <= retries <= 100:
            wrong["maxRetries"] = "must be a number between 0 and 100"
        expires_at = _time(body.get("expirationDateTime"))
        if expires_at is None or expires_at <= time.time():
            wrong["expirationDateTime"] = "must be a valid ISO 8601 date string in the future"
        for name in ("brandCode", "notificationMessages", "integrityKey"):
            if not isinstance(body.get(name), str | None):
                wrong[name] = "must be a string"
        return wrong

    def _connection_complaints(self, body: Mapping[str, object]) -> dict[str, str]:
        connection, url = body.get("connectionType") or "HTTP", body.get("notificationUrl")
        wrong: dict[str, str] = {}
        if connection not in ("HTTP", "SOCKET"):
            wrong["connectionType"] = "must be one of the following values: HTTP, SOCKET"
        if connection == "HTTP" and not url:
            wrong["notificationUrl"] = "should not be empty"
        elif url and not self._is_usable(url):
            wrong["notificationUrl"] = "must be an HTTPS URL address"
        if connection == "SOCKET" and not body.get("notificationMessages"):
            wrong["notificationMessages"] = "should not be empty"
        return wrong

    def _is_usable(self, url: object) -> bool:
        """The real one wants HTTPS. A sandbox also talks to the machine that it runs on, or is told to go there."""
        if not isinstance(url, str):
            return False
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False
        if parts.scheme == "https":
            return usable
        return usable and parts.scheme == "http" and (_is_loopback(parts.hostname or "") or self.sender.rewrites(url))

    # -- What the base asks --------------------------------------------------------------------------------------

    def details(self, tenant: SideDrawerTenant, hook: Webhook) -> dict[str, object]:
        """The whole webhook in their words, with the expiry that was granted."""
        return {
            tenant.options.id_field: hook.remote_id,
            **hook.config.raw(),
            "expirationDateTime": _iso(hook.expires_at or 0.0),
            "status": "active" if hook.enabled else "inactive",
        }

    def change(
        self, tenant: SideDrawerTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merges the given fields into the config; null clears one. An expiry that is given counts as it is."""
        if status is not None and status not in STATUSES:
            raise InvalidControlInput(f"status: must be one of {', '.join(STATUSES)}")
        changes = {OUR_WORDS.get(key, key): value for key, value in (config or {}).items()}
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise InvalidControlInput(f"config.{min(unknown)}: there is no such field")
        try:
            changed = self._read_config(tenant, {**hook.config.raw(), **changes})
        except RefusalError as refusal:
            name, problem = next(iter(refusal.fields.items()), ("resource", str(refusal)))
            raise InvalidControlInput(f"config.{name}: {problem}") from None
        self._configure(tenant, hook, changed, extend=False)
        if "expirationDateTime" in changes:
            hook.expires_at = changed.expires_at
        if status is not None:
            hook.enabled = STATUSES[status]
            hook.failures = 0

    def retry_delays(self, tenant: SideDrawerTenant, hook: Webhook) -> Sequence[float]:
        """As often as the webhook's `maxRetries` says; the schedule's last pause is repeated."""
        schedule = tenant.options.retry_delays
        tries = range(hook.config.max_retries if schedule else 0)
        return [schedule[min(number, len(schedule) - 1)] for number in tries]

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """By the kinds that its resource is about, and by its modification type."""
        kind, _, modification = event_type.partition(".")
        word = hook.config.modification_type.lower()
        return kind in RESOURCES[hook.config.template] and word in ("any", modification)

    def matches(self, hook: Webhook, event: Event) -> bool:
        """By type and by place: at its resource or below."""
        return self.matches_type(hook, event.type) and hook.config.resource in event.paths

    def make_event(self, tenant: SideDrawerTenant, event_type: str, hook: Webhook) -> Event:
        """Something that happens at the webhook's resource."""
        kind, _, modification = event_type.partition(".")
        kinds, place, template = RESOURCES[hook.config.template], hook.config.resource, hook.config.template
        kind = kind if kind in kinds or event_type not in self.event_types else kinds[0]
        if kind == "plan-item" and kinds[0] == "plan-request":
            plan = place if template.endswith("}") else f"{place}/{self._plan_id(tenant, place)}"
            place, template = f"{plan}/item", "item"
        world = self._worlds[tenant.login]
        event = world.event(kind, modification or event_type, place, is_collection=not template.endswith(ONE_THING))
        return event if event.type == event_type else replace(event, type=event_type)

    def _plan_id(self, tenant: SideDrawerTenant, place: str) -> str:
        """The plan that items are told about; always the same one of a drawer."""
        return hashlib.sha256(f"{tenant.login}:{place}".encode()).hexdigest()[:24]

    def build_webhook_call(
        self, tenant: SideDrawerTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """POST with one event as JSON and the hash of the body in a header, if there is an integrity key."""
        options, key = tenant.options, hook.config.integrity_key
        body = json.dumps(_styled(events[0], options.body_style), separators=(",", ":"), ensure_ascii=False).encode()
        if options.encrypt_bodies and key:
            body = _encrypted(body, key)
        headers = {"User-Agent": "SideDrawer-Webhooks/1.0", "Content-Type": "application/json", "Accept": "*/*"}
        if key:
            used = secrets.token_hex(16) if bad_signature else key
            digest = hmac.new(used.encode(), body, hashlib.sha256).digest()
            headers[options.hash_header] = _written(digest, options.hash_encoding)
        return WebhookCall("POST", hook.url, headers, body)


simulator = SideDrawerSimulator


def _client_of(call: Call) -> LoginName | None:
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError):
        return None
    secret = body.get("clientSecret") if isinstance(body, dict) else None
    for login, facts in TENANTS.items():
        tenant, client = quote(facts.tenant_id, safe=""), quote(facts.client_id, safe="")
        path = f"{DEVELOPERS}/tenant/tenant-id/{tenant}/applications/client-id/{client}/developer-login"
        if call.method == "POST" and call.path == path and secret == facts.client_secret:
            return login
    return None


def _error(status: int, message: object) -> Response:
    return Response(status, {"statusCode": status, "message": message})


def _object(body: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "Unexpected token in JSON") from None
    if not isinstance(value, dict):
        raise RefusalError(400, "The body must be an object")
    return value


def _template_of(resource: object) -> str | None:
    if not isinstance(resource, str):
        return None
    patterns = {template: re.sub(r"\\\{\w+\\\}", "[^/{}]+", re.escape(template)) for template in RESOURCES}
    return next((template for template, pattern in patterns.items() if re.fullmatch(pattern, resource)), None)


def _case_fits(word: object, case: str) -> bool:
    if not isinstance(word, str) or word.lower() not in (*MODIFICATIONS, "any"):
        return False
    lower = word.lower()
    return case == "any" or word == (lower if case == "lower" else lower.capitalize())


def _time(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment and moment.tzinfo else None


def _iso(moment: float) -> str:
    return iso_time(datetime.fromtimestamp(moment, tz=UTC))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _styled(event: Event, style: str) -> object:
    """The envelopes that their notifications may come in."""
    body = dict(event.body)
    if style == "list":
        return [body]
    if style == "event":
        resource, modification = body.pop("resource"), body.pop("modificationType")
        return {"event": {"resource": resource, "action": f"{modification}d".upper(), **body}}
    return body


def _encrypted(body: bytes, key: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return base64.b64encode(nonce + AESGCM(hashlib.sha256(key.encode()).digest()).encrypt(nonce, body, None))


def _written(digest: bytes, encoding: str) -> str:
    prefix, _, form = encoding.rpartition("=")
    ways = {
        "hex": digest.hex(),
        "HEX": digest.hex().upper(),
        "base64": base64.b64encode(digest).decode(),
        "base64url": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }
    return f"{prefix}={ways[form]}" if prefix else ways[form]
