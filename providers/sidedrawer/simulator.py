"""Simulate SideDrawer's webhook API: developer login, registration, leases, and signed deliveries with retries.

The real paths, envelopes and bodies are not published. The defaults are what the plug-in assumes, and options select
the other possibilities.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import parse_qs, quote, unquote

from pydantic import Field

from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.odd_bodies import encode_text
from providers.sandbox.tenant import Event, LoginName, Options, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall
from providers.sidedrawer.sample_events import SampleTenant
from providers.sidedrawer.simulated_messages import encode_hash, encrypt, notification
from providers.sidedrawer.simulated_requests import (
    API_NAMES,
    FIELDS,
    ApiError,
    error_response,
    parse_config,
    parse_object,
)
from providers.sidedrawer.simulated_tenants import TENANTS
from providers.sidedrawer.simulated_webhook import (
    MODIFICATIONS,
    RESOURCES,
    SINGLE_ENTITY,
    Webhook,
    WebhookConfig,
    format_time,
)

WEBHOOKS_PATH = "/api/v1/webhooks"
DEVELOPERS_PATH = "/api/v1/developers"
STATUSES: Mapping[str, bool] = {"active": True, "enabled": True, "inactive": False, "disabled": False}


class SideDrawerOptions(Options):
    """The options of this simulator."""

    token_seconds: float = Field(default=300.0, gt=0, le=30 * 86400)  # lifetime of a token from the developer login
    max_webhooks: int = Field(default=100, ge=0)
    paths_missing: bool = False  # the real paths are different: 404 for all of them
    item_path_missing: bool = False  # 404 for the path of one webhook
    allow_update: bool = True  # false: 405 for PUT
    update_extends: bool = True  # a PUT starts a new lease
    update_enables: bool = True  # a PUT enables a disabled webhook
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
    hash_of: Literal["body", "event"] = "body"  # event: the plain one, also if the body is encrypted


@dataclass(slots=True)
class IssuedToken:
    """A token from the developer login."""

    login: LoginName
    expires_at: float


SideDrawerTenant = Tenant[Webhook, SideDrawerOptions]


class SideDrawerSimulator(Simulator[Webhook, SideDrawerOptions]):
    """Two SideDrawer tenants; the token identifies the tenant. The spare login has a token, the demo login logs in."""

    slug = "sidedrawer"
    collection = WEBHOOKS_PATH
    paths: ClassVar[tuple[str, ...]] = (WEBHOOKS_PATH, DEVELOPERS_PATH)
    event_types: ClassVar[tuple[str, ...]] = tuple(
        f"{kind}.{modification}"
        for kind in dict.fromkeys(kind for kinds in RESOURCES.values() for kind in kinds)
        for modification in MODIFICATIONS
    )
    # A webhook is about one resource: this is the first of `demo_configs`.
    demo_config: ClassVar[dict[str, object]] = {
        "resource": f"tenant/{TENANTS[LoginName.DEMO].tenant_id}/sidedrawer",
        "modification_type": "any",
    }
    secret_keys: ClassVar[frozenset[str]] = frozenset({"integrityKey"})
    options_model = SideDrawerOptions

    def demo_configs(self) -> dict[str, dict[str, object]]:
        """Return the configs that together receive every event type."""
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
        """Return one login per tenant, with fixed credentials."""
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
    def _sample_tenants(self) -> dict[LoginName, SampleTenant]:
        return {login: SampleTenant(facts.tenant_id, facts.brand, self.random) for login, facts in TENANTS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """Identify the login by the access token, or by the credentials of a developer login."""
        if self.obtains_token(call):
            return _login_of_client(call)
        token = call.bearer_token() or ""
        issued = self._tokens.get(token)
        if issued is not None:
            return issued.login if time.time() < issued.expires_at else None
        return next((login for login, facts in TENANTS.items() if facts.token == token), None)

    def obtains_token(self, call: Call) -> bool:
        """Return whether this is the developer login."""
        return call.path.startswith(f"{DEVELOPERS_PATH}/")

    def error_response(self, status: int) -> Response:
        """Return an error in SideDrawer's format."""
        return error_response(status, "Unauthorized" if status == 401 else f"The call failed with {status}.")

    def age_extra_state(self, tenant: SideDrawerTenant, seconds: float) -> None:
        """Move the expiry of tokens forward."""
        for issued in self._tokens.values():
            if issued.login == tenant.login:
                issued.expires_at -= seconds

    # -- The API -------------------------------------------------------------------------------------------------

    def handle(self, tenant: SideDrawerTenant, call: Call) -> Response:
        """Route and handle a call."""
        if self.obtains_token(call):
            return self._log_in(tenant)
        try:
            routes = self._routes(tenant, call)
            if call.method not in routes:
                raise ApiError(405, f"Cannot {call.method} {call.path}")
            return routes[call.method]()
        except ApiError as error:
            return error.response()

    def _routes(self, tenant: SideDrawerTenant, call: Call) -> dict[str, Callable[[], Response]]:
        options = tenant.options
        parts = [unquote(part) for part in call.path.removeprefix(WEBHOOKS_PATH).split("/") if part]
        if options.paths_missing or len(parts) > 1 or (parts and options.item_path_missing):
            raise ApiError(404, f"Cannot {call.method} {call.path}")
        if not parts:
            return {"GET": lambda: self._list(tenant, call), "POST": lambda: self._register(tenant, call)}
        hook = tenant.hooks.get(parts[0])
        if hook is None:
            raise ApiError(404, "Webhook subscription not found")
        routes = {
            "GET": lambda: Response(200, self._described(tenant, hook)),
            "DELETE": lambda: self._delete(tenant, hook),
        }
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
            return Response(200, [self._described(tenant, hook) for hook in hooks])
        after = parse_qs(call.query).get("startingAfter", [""])[0]
        ids = [hook.remote_id for hook in hooks]
        start = ids.index(after) + 1 if after in ids else 0
        page = hooks[start : start + options.page_size]
        more = start + options.page_size < len(hooks)
        return Response(
            200,
            {
                "data": [self._described(tenant, hook) for hook in page],
                "hasMore": more,
                "nextPage": self._next_page(options, page[-1].remote_id) if more else None,
                "previousPage": None,
                "totalCount": len(hooks),
            },
        )

    def _next_page(self, options: SideDrawerOptions, last: str) -> str:
        query = f"?startingAfter={quote(last)}"
        forms = {
            "url": f"https://api.sidedrawer.example{WEBHOOKS_PATH}{query}",
            "path": f"{WEBHOOKS_PATH}{query}",
            "query": query,
        }
        return forms.get(options.next_page, last)

    def _register(self, tenant: SideDrawerTenant, call: Call) -> Response:
        config = self._parse_config(tenant, parse_object(call.body))
        if len(tenant.hooks) >= tenant.options.max_webhooks:
            raise ApiError(409, f"At most {tenant.options.max_webhooks} webhook subscriptions are allowed")
        remote_id = self._sample_tenants[tenant.login].new_id()
        hook = Webhook(remote_id=remote_id, url="", config=config)
        self._configure(tenant, hook, config, extend=True)
        tenant.hooks[remote_id] = hook
        return Response(201, self._described(tenant, hook))

    def _update(self, tenant: SideDrawerTenant, hook: Webhook, call: Call) -> Response:
        config = self._parse_config(tenant, parse_object(call.body))
        self._configure(tenant, hook, config, extend=tenant.options.update_extends)
        if tenant.options.update_enables and not hook.enabled:
            hook.enabled, hook.failures = True, 0
        return Response(200, self._described(tenant, hook))

    def _delete(self, tenant: SideDrawerTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _configure(self, tenant: SideDrawerTenant, hook: Webhook, config: WebhookConfig, *, extend: bool) -> None:
        """Set a config. A new lease is limited to `lease_seconds`."""
        if extend or hook.expires_at is None:
            hook.expires_at = min(config.expires_at, time.time() + tenant.options.lease_seconds)
        hook.config, hook.url = config, config.notification_url or ""

    def _described(self, tenant: SideDrawerTenant, hook: Webhook) -> dict[str, object]:
        hidden = {"integrityKey"} if tenant.options.hide_integrity_key else set()
        hidden |= set() if tenant.options.show_status else {"status"}
        return {key: value for key, value in self.details(tenant, hook).items() if key not in hidden}

    def _parse_config(self, tenant: SideDrawerTenant, body: Mapping[str, object]) -> WebhookConfig:
        return parse_config(
            body,
            tenant_id=TENANTS[tenant.login].tenant_id,
            modification_case=tenant.options.modification_case,
            accepts=self.sender.accepts,
        )

    # -- Hooks of the base class ---------------------------------------------------------------------------------

    def details(self, tenant: SideDrawerTenant, hook: Webhook) -> dict[str, object]:
        """Return the whole webhook with the API's field names and the granted expiry."""
        return {
            tenant.options.id_field: hook.remote_id,
            **hook.config.describe(),
            "expirationDateTime": format_time(hook.expires_at or 0.0),
            "status": "active" if hook.enabled else "inactive",
        }

    def change(
        self, tenant: SideDrawerTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merge the given fields into the config; null clears a field. A given expiry is set unchanged."""
        if status is not None and status not in STATUSES:
            raise InvalidControlInput(f"status: must be one of {', '.join(STATUSES)}")
        changes = {API_NAMES.get(key, key): value for key, value in (config or {}).items()}
        unknown = set(changes) - set(FIELDS)
        if unknown:
            raise InvalidControlInput(f"config.{min(unknown)}: there is no such field")
        try:
            changed = self._parse_config(tenant, {**hook.config.describe(), **changes})
        except ApiError as error:
            name, problem = next(iter(error.fields.items()), ("resource", str(error)))
            raise InvalidControlInput(f"config.{name}: {problem}") from None
        self._configure(tenant, hook, changed, extend=False)
        if "expirationDateTime" in changes:
            hook.expires_at = changed.expires_at
        if status is not None:
            hook.enabled = STATUSES[status]
            hook.failures = 0

    def retry_delays(self, tenant: SideDrawerTenant, hook: Webhook) -> Sequence[float]:
        """Return `maxRetries` delays; the last one of the schedule is repeated."""
        schedule = tenant.options.retry_delays
        retries = range(hook.config.max_retries if schedule else 0)
        return [schedule[min(number, len(schedule) - 1)] for number in retries]

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """Match by the kinds of the resource and by the modification type."""
        kind, _, modification = event_type.partition(".")
        selected = hook.config.modification_type.lower()
        return kind in RESOURCES[hook.config.template] and selected in ("any", modification)

    def matches(self, hook: Webhook, event: Event) -> bool:
        """Match by type and by path: the resource itself or below it."""
        return self.matches_type(hook, event.type) and hook.config.resource in event.paths

    def make_event(self, tenant: SideDrawerTenant, event_type: str, hook: Webhook) -> Event:
        """Return a sample event of the webhook's resource."""
        kind, _, modification = event_type.partition(".")
        kinds, path, template = RESOURCES[hook.config.template], hook.config.resource, hook.config.template
        kind = kind if kind in kinds or event_type not in self.event_types else kinds[0]
        if kind == "plan-item" and kinds[0] == "plan-request":
            plan = path if template.endswith("}") else f"{path}/{self._plan_id(tenant, path)}"
            path, template = f"{plan}/item", "item"
        sample = self._sample_tenants[tenant.login]
        event = sample.event(kind, modification or event_type, path, is_collection=not template.endswith(SINGLE_ENTITY))
        return event if event.type == event_type else replace(event, type=event_type)

    def _plan_id(self, tenant: SideDrawerTenant, path: str) -> str:
        """Return the ID of the plan whose items are reported; it is the same for all events of a drawer."""
        return hashlib.sha256(f"{tenant.login}:{path}".encode()).hexdigest()[:24]

    def build_webhook_call(
        self, tenant: SideDrawerTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Build a POST with one event as JSON and, if there is an integrity key, the hash of the body in a header."""
        options, key = tenant.options, hook.config.integrity_key
        text = json.dumps(notification(events[0], options.body_style), separators=(",", ":"), ensure_ascii=False)
        body = encode_text(text, options.body_encoding)
        plain = body
        if options.encrypt_bodies and key:
            body = encrypt(body, key)
        headers = {"User-Agent": "SideDrawer-Webhooks/1.0", "Content-Type": "application/json", "Accept": "*/*"}
        if key:
            signing_key = secrets.token_hex(16) if bad_signature else key
            hashed = body if options.hash_of == "body" else plain
            digest = hmac.new(signing_key.encode(), hashed, hashlib.sha256).digest()
            headers[options.hash_header] = encode_hash(digest, options.hash_encoding)
        return WebhookCall("POST", hook.url, headers, body)


simulator = SideDrawerSimulator


def _login_of_client(call: Call) -> LoginName | None:
    try:
        body = json.loads(call.body)
    except (ValueError, RecursionError):
        return None
    secret = body.get("clientSecret") if isinstance(body, dict) else None
    for login, facts in TENANTS.items():
        tenant, client = quote(facts.tenant_id, safe=""), quote(facts.client_id, safe="")
        path = f"{DEVELOPERS_PATH}/tenant/tenant-id/{tenant}/applications/client-id/{client}/developer-login"
        if call.method == "POST" and call.path == path and secret == facts.client_secret:
            return login
    return None
