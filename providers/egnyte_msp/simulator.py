"""Simulate Egnyte's MSP webhook API: registration, whoami, throttling, disabling and deliveries.

Where the real behavior is unknown, an option selects one of the possibilities; its default is our assumption.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field

from providers.egnyte_msp.sample_events import Reseller, SampleReseller
from providers.sandbox.base import Simulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.mashery import MasheryGateway, MasheryOptions
from providers.sandbox.odd_bodies import encode_text
from providers.sandbox.tenant import Event, Hook, LoginName, SandboxLogin, Tenant
from providers.sandbox.webhook_sender import WebhookCall

PREFIX = "/pubapi/v1/msp/webhooks"
WHOAMI = "/pubapi/v1/whoami"  # Egnyte Connect has the same path; the access token distinguishes them
EVENT_NAMES: tuple[str, ...] = (
    "RESELLER_LINK_NFR_MANUALLY",
    "RESELLER_CREATED_CONNECT_TRIAL",
    "RESELLER_CREATED_PROTECT_TRIAL",
    "RESELLER_CONVERTED_CONNECT_TRIAL_TO_PAID",
    "RESELLER_CONVERTED_PROTECT_TRIAL_TO_PAID",
    "RESELLER_CONNECT_TRIAL_EXPIRED",
    "RESELLER_PROFILE_UPDATED",
    "RESELLER_MRR_CHANGED",
    "RESELLER_FIRST_LOGIN",
    "RESELLER_CC_ADDED",
    "RESELLER_PVI_ADDED",
    "USER_ADDED",
    "RESELLER_TFA_ENABLED",
    "RESELLER_TFA_ENROLLED",
    "USER_TFA_ENABLED",
    "USER_TFA_ENROLLED",
    "RESELLER_UPSELL_INVOICE_GENERATED",
    "RESELLER_RECURRING_INVOICE_GENERATED",
    "RESELLER_INVOICE_EDITED",
    "RESELLER_INVOICE_PAID",
)
TOKENS: Mapping[str, LoginName] = {
    "sandbox-egnyte-msp-spare-token": LoginName.SPARE,
    "sandbox-egnyte-msp-demo-token": LoginName.DEMO,
}
RESELLERS: Mapping[LoginName, Reseller] = {
    LoginName.SPARE: Reseller("RX12", "Lee IT", "leeit", ("Ann Lee", "Bob Tanaka", "Chloe Dubois")),
    LoginName.DEMO: Reseller("NB47", "Northbridge Managed IT", "northbridge", ("Ruth Keller", "Sam Osei", "Tess Wynn")),
}
SPELLINGS = ("event_types", "eventTypes")
# The provider's names of fields that control calls may also give by the plug-in's names
FIELD_ALIASES: Mapping[str, str] = {"eventTypes": "event_types", "callback_url": "webhook_url"}
FIELDS = ("webhook_url", "event_types", "auth_header", "auth_header_value")


class EgnyteMspOptions(MasheryOptions):
    """The options of this simulator."""

    max_webhooks: int = Field(default=5, ge=0)
    update_enables: bool = True  # a PUT enables a disabled webhook
    hide_auth_value: bool = False  # from reads
    whoami: Literal["open", "forbidden", "missing"] = "open"  # to MSP tokens
    approved_partner: bool = True  # whether the token's owner is one; others may not use the API
    # The name of the list of event types: either one in requests and `event_types` in responses, or only one name.
    spelling: Literal["either", "eventTypes", "event_types"] = "either"
    envelope: Literal["object", "array"] = "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """The validated config of a webhook."""

    url: str
    event_types: tuple[str, ...]
    auth_header: str
    auth_header_value: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook."""

    config: WebhookConfig

    def summary(self) -> dict[str, object]:
        """Return the response of register, update and list calls."""
        return {"webhook_id": self.remote_id, "status": "enabled" if self.enabled else "disabled"}


class RefusedCall(Exception):
    """The server refuses a call; `body` is the error body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "code": code}


MspTenant = Tenant[Webhook, EgnyteMspOptions]


class EgnyteMspSimulator(Simulator[Webhook, EgnyteMspOptions]):
    """Two NFR domains with an API each; the access token identifies the domain."""

    slug = "egnyte-msp"
    collection = PREFIX
    paths: ClassVar[tuple[str, ...]] = (PREFIX, WHOAMI)
    event_types: ClassVar[tuple[str, ...]] = EVENT_NAMES
    demo_config: ClassVar[dict[str, object]] = {"event_types": list(EVENT_NAMES)}
    secret_keys: ClassVar[frozenset[str]] = frozenset({"auth_header_value"})
    options_model = EgnyteMspOptions

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return one NFR domain per login, with a constant token."""
        spare, demo = (
            SandboxLogin(
                login=login,
                settings={"domain": RESELLERS[login].nfr_domain, "base_url": base_url},
                credentials={"access_token": token},
            )
            for token, login in TOKENS.items()
        )
        return spare, demo

    @cached_property
    def _gateway(self) -> MasheryGateway:
        return MasheryGateway(RESELLERS)

    @cached_property
    def _resellers(self) -> dict[LoginName, SampleReseller]:
        return {login: SampleReseller(reseller, self.random) for login, reseller in RESELLERS.items()}

    def login_of(self, call: Call) -> LoginName | None:
        """Return the login of the access token."""
        return TOKENS.get(call.bearer_token() or "")

    def error_response(self, status: int) -> Response:
        """Return an error in Egnyte's format."""
        body = {"message": f"The call failed with {status}.", "code": f"http_{status}_error"}
        return Response(status, body, {"WWW-Authenticate": "Bearer"} if status == 401 else {})

    # -- The API -------------------------------------------------------------------------------------------------

    def serve(self, tenant: MspTenant, call: Call) -> Response:
        """Respond through the gateway, which throttles."""
        return self._gateway.serve(tenant, lambda: self.handle(tenant, call))

    def age_extra_state(self, tenant: MspTenant, seconds: float) -> None:
        """Let the limits of the gateway recover."""
        self._gateway.age(tenant.login, seconds)

    def handle(self, tenant: MspTenant, call: Call) -> Response:
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

    def _routes(self, tenant: MspTenant, call: Call) -> dict[str, Callable[[], Response]]:
        if call.path.rstrip("/") == WHOAMI:
            return {"GET": lambda: self._whoami(tenant)}
        if not tenant.options.approved_partner:
            raise RefusedCall(403, "access_denied_error", "Only approved MSP partners may use this API.")
        match [unquote(part) for part in call.path.removeprefix(PREFIX).split("/") if part]:
            case []:
                return {"GET": lambda: self._list(tenant), "POST": lambda: self._register(tenant, call)}
            case [remote_id] if remote_id in tenant.hooks:
                hook = tenant.hooks[remote_id]
                return {
                    "GET": lambda: Response(200, self._visible_details(tenant, hook)),
                    "PUT": lambda: self._update(tenant, hook, call),
                    "DELETE": lambda: self._delete(tenant, hook),
                }
        raise RefusedCall(404, "webhook_not_found_error", "Webhook not found.")

    def _whoami(self, tenant: MspTenant) -> Response:
        if tenant.options.whoami != "open":
            return self.error_response(403 if tenant.options.whoami == "forbidden" else 404)
        reseller = RESELLERS[tenant.login]
        username = reseller.people[0].lower().replace(" ", "")
        return Response(
            200,
            {"clientId": "msp8adyh3gumiypa45qdgkm", "username": username, "domain": reseller.nfr_domain, "scopes": []},
        )

    def _list(self, tenant: MspTenant) -> Response:
        return Response(200, [hook.summary() for hook in tenant.hooks.values()])

    def _register(self, tenant: MspTenant, call: Call) -> Response:
        config = self._read_config(_object(call), tenant.options)
        if len(tenant.hooks) >= tenant.options.max_webhooks:
            raise RefusedCall(409, "webhook_limit_exceeded_error", "Max webhook limit exceeded.")
        hook = Webhook(remote_id=str(uuid.uuid4()), url=config.url, config=config)
        tenant.hooks[hook.remote_id] = hook
        return Response(200, hook.summary())

    def _update(self, tenant: MspTenant, hook: Webhook, call: Call) -> Response:
        _configure(hook, self._read_config(_object(call), tenant.options))
        if tenant.options.update_enables:
            _set_enabled(hook, enabled=True)
        return Response(200, hook.summary())

    def _delete(self, tenant: MspTenant, hook: Webhook) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(200, {"success": True})

    def _visible_details(self, tenant: MspTenant, hook: Webhook) -> dict[str, object]:
        hidden = "auth_header_value" if tenant.options.hide_auth_value else None
        return {key: value for key, value in self.details(tenant, hook).items() if key != hidden}

    def _read_config(self, body: Mapping[str, object], options: EgnyteMspOptions) -> WebhookConfig:
        """Validate a whole config. Raises RefusedCall for the first invalid field."""
        auth_header = _text(body, "auth_header")
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", auth_header):
            raise _invalid("auth_header", "must be the name of a header")
        return WebhookConfig(
            url=self._read_url(body),
            event_types=_read_event_types(body, options),
            auth_header=auth_header,
            auth_header_value=_text(body, "auth_header_value"),
        )

    def _read_url(self, body: Mapping[str, object]) -> str:
        url = _text(body, "webhook_url")
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _invalid("webhook_url", "is not a URL")
        if not self.sender.accepts(url):
            raise _invalid("webhook_url", "must begin with https://")
        return url

    # -- Webhooks -----------------------------------------------------------------------------------------------

    def details(self, tenant: MspTenant, hook: Webhook) -> dict[str, object]:
        """Return summary and config by Egnyte's names."""
        spelling = tenant.options.spelling
        return {
            **hook.summary(),
            "event_types" if spelling == "either" else spelling: list(hook.config.event_types),
            "webhook_url": hook.config.url,
            "auth_header": hook.config.auth_header,
            "auth_header_value": hook.config.auth_header_value,
        }

    def change(
        self, tenant: MspTenant, hook: Webhook, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merge fields into the config."""
        options = tenant.options.model_copy(update={"spelling": "event_types"})
        before = {
            "webhook_url": hook.config.url,
            "event_types": list(hook.config.event_types),
            "auth_header": hook.config.auth_header,
            "auth_header_value": hook.config.auth_header_value,
        }
        try:
            changed = self._read_config({**before, **_provider_fields(config or {})}, options)
        except RefusedCall as error:
            raise InvalidControlInput(f"config.{error}") from None
        if status not in (None, "enabled", "disabled"):
            raise InvalidControlInput("status: must be enabled or disabled")
        _configure(hook, changed)
        if status is not None:
            _set_enabled(hook, enabled=status == "enabled")

    def matches_type(self, hook: Webhook, event_type: str) -> bool:
        """Return whether the webhook has this type; there are no wildcards."""
        return event_type in hook.config.event_types

    def make_event(self, tenant: MspTenant, event_type: str, hook: Webhook) -> Event:
        """Return a sample event of the tenant's reseller."""
        return self._resellers[tenant.login].event(event_type)

    def batch_limit(self, tenant: MspTenant) -> int:
        """Return four if the envelope can hold several events, else one."""
        return 1 if tenant.options.envelope == "object" else 4

    def build_webhook_call(
        self, tenant: MspTenant, hook: Webhook, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Return a POST with the event as JSON and the secret in the configured header."""
        items = [event.body for event in events]
        headers = {
            "User-Agent": "Egnyte-MSP-Webhooks/1.0",
            "Content-Type": "application/json",
            "Accept": "*/*",
            hook.config.auth_header: f"wrong-{uuid.uuid4()}" if bad_signature else hook.config.auth_header_value,
        }
        content = items if tenant.options.envelope == "array" else items[0]
        body = encode_text(json.dumps(content), tenant.options.body_encoding)
        return WebhookCall("POST", hook.url, headers, body)


simulator = EgnyteMspSimulator


def _invalid(name: str, problem: str) -> RefusedCall:
    return RefusedCall(400, "invalid_request_error", f"{name} {problem}")


def _object(call: Call) -> dict[str, object]:
    value = call.json_object()
    if value is None:
        raise RefusedCall(400, "invalid_request_error", "The body is not a JSON object.")
    return value


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise _invalid(name, "is required")
    if not value.isascii() or not value.isprintable():
        raise _invalid(name, "must be printable ASCII text")
    return value


def _read_event_types(body: Mapping[str, object], options: EgnyteMspOptions) -> tuple[str, ...]:
    names = SPELLINGS if options.spelling == "either" else (options.spelling,)
    name = next((name for name in names if body.get(name) is not None), names[-1])
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise _invalid(name, "must be a list with at least one event type")
    for item in value:
        if item not in EVENT_NAMES:
            raise _invalid(name, f"has {item!r}, which is not an event type")
    return tuple(value)


def _configure(hook: Webhook, config: WebhookConfig) -> None:
    hook.config, hook.url = config, config.url


def _set_enabled(hook: Webhook, *, enabled: bool) -> None:
    hook.enabled = enabled
    if enabled:
        hook.failures = 0


def _provider_fields(config: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a control call by the provider's names. Raises InvalidControlInput for unknown ones."""
    changes: dict[str, object] = {}
    for key, value in config.items():
        name = FIELD_ALIASES.get(key, key)
        if name not in FIELDS:
            raise InvalidControlInput(f"config.{key}: there is no such field")
        changes[name] = value
    return changes
