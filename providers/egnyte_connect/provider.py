"""Egnyte Connect: what its webhook API can do, and the calls.

Sources: Egnyte's "Connect Public API - webhooks" page; beplatform/egnyte-go-sdk v2/webhooks.go for what the page leaves
out (paths, the details call's URL, the second auth header field). What neither confirms is a setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.contract.signatures import same
from providers.egnyte_connect import responses, webhook
from providers.egnyte_connect.event_types import EVENT_TYPES
from providers.egnyte_connect.schemas import API_HOSTS, EgnyteConfig, EgnyteCredentials, EgnyteSettings

EgnyteSession = ProviderSession[EgnyteSettings, EgnyteCredentials]


class EgnyteConnect(Provider[EgnyteSettings, EgnyteCredentials, EgnyteConfig]):
    """The Egnyte Connect plug-in."""

    slug = "egnyte-connect"
    name = "Egnyte Connect"
    capabilities = Capabilities(
        can_list=True,
        list_has_details=False,
        reveals_url=True,
        can_update=True,
        can_set_status=True,
        can_test=False,
        can_identify=True,
        renewal=Renewal.UPDATE,
        expiry_set_by=ExpirySetBy.PROVIDER,
        proof=Proof.HEADER,
        secret_made_by=SecretMadeBy.US,
        methods=("POST",),
        has_event_id=True,
        rate_limit=RateLimit(per_second=2, per_day=1000),
        count_limit_by=("clientId", "domain"),
        notes=(
            "How long a registration lives, and whether an update prolongs it: the granted expiry is always read back.",
            "Which header carries the secret: every header is compared unless a setting narrows it.",
            "How many webhooks one application may have in a domain (10 is often named): Egnyte's refusal is shown.",
            "The wildcards for workflow, group and user events.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = EgnyteSettings
    credentials_model = EgnyteCredentials
    config_model = EgnyteConfig
    secret_keys = frozenset({"authHeader", "authHeaderValue", "access_token"})
    manual_steps = (
        "As an administrator, add a webhook on Egnyte's own pages, or call POST /pubapi/v1/webhooks of the domain.",
        "Give the callback URL as the URL (`url`), and the wanted types as the events (`eventType`).",
        "Give the secret, without the header's name, as the auth header (`authHeader`).",
        "Limit it to the wanted folders, if any (`path`, separated by commas).",
        "Renew it and switch it on again there: Egnyte ends it in its own time, and pauses it after failures.",
        "The subscription becomes active here with the first event that carries the secret.",
    )

    def origin(self, settings: EgnyteSettings) -> str:
        """`https://acme.egnyte.com`, or the host as entered."""
        host = settings.domain if "." in settings.domain else f"{settings.domain}.{API_HOSTS[0]}"
        return f"https://{host}"

    def rate_limit(self, settings: EgnyteSettings) -> RateLimit:
        """The limits of the access token, as set for this account."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: EgnyteConfig) -> dict[str, object]:
        """Sorted, unique, without types that a wildcard covers, without the final slash of a path."""
        return responses.canonical(config.event_types, config.paths)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: EgnyteSession) -> Identity:
        """GET whoami. Warns when the token's scopes are told and the webhook scope is not among them."""
        return responses.read_identity(self._call(session, "GET", "whoami"))

    def list_remote(self, session: EgnyteSession) -> tuple[RemoteSubscription, ...]:
        """GET webhooks: ids, status and expiry only."""
        return responses.read_summaries(self._call(session, "GET", "webhooks").json())

    def register(self, session: EgnyteSession, registration: Registration[EgnyteConfig]) -> RemoteSubscription:
        """POST webhooks. It begins enabled, whatever is wanted: the API takes no status here."""
        answer = self._call(session, "POST", "webhooks", _body(session.settings, registration))
        try:
            return responses.read_summary(answer.json())
        except InvalidResponse as error:
            # Egnyte said yes, so there may be a new webhook whose id we could not read.
            raise InvalidResponse(error.message, status=answer.status, outcome_unknown=True) from None

    def read_remote(self, session: EgnyteSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET webhooks/{id}/details."""
        details = self._call(session, "GET", _path(remote_id, "details")).json_object()
        summary = _of(remote_id, responses.read_summary(details))
        return RemoteSubscription(
            remote_id=summary.remote_id,
            status=summary.status,
            enabled=summary.enabled,
            expires_at=summary.expires_at,
            url=responses.read_url(details),
            config=responses.read_config(details),
            secret_matches=_secret_matches(session.settings, details, secret),
        )

    def update(
        self, session: EgnyteSession, remote_id: str, registration: Registration[EgnyteConfig]
    ) -> RemoteSubscription:
        """PUT webhooks/{id} with everything (it replaces the config), then reads the details: the PUT's own answer
        is not specified. `renew` is the same; whether the expiry moves is for the caller to see."""
        body = {**_body(session.settings, registration), "status": _status(registration.enabled)}
        self._call(session, "PUT", _path(remote_id), body)
        return self.read_remote(session, remote_id, registration.secret)

    def set_enabled(self, session: EgnyteSession, remote_id: str, enabled: bool) -> RemoteSubscription:
        """POST webhooks/{id}/status."""
        answer = self._call(session, "POST", _path(remote_id, "status"), {"status": _status(enabled)})
        return _of(remote_id, responses.read_summary(answer.json()))

    def delete(self, session: EgnyteSession, remote_id: str) -> None:
        """DELETE webhooks/{id}."""
        self._call(session, "DELETE", _path(remote_id))

    def _call(self, session: EgnyteSession, method: str, path: str, body: object = None) -> ProviderResponse:
        headers = {"Authorization": f"Bearer {session.credentials.access_token}"}
        if session.settings.act_as_email:
            headers["X-Egnyte-Act-As-Email"] = session.settings.act_as_email
        if session.settings.act_as_username:
            headers["X-Egnyte-Act-As"] = session.settings.act_as_username
        url = f"{self.api_origin(session.settings)}/pubapi/v1/{path}"
        try:
            return session.http.call(method, url, headers=headers, json_body=body, read_error=responses.read_error)
        except NotFound as error:
            if path.startswith("webhooks/"):
                raise
            # No webhook was named, so it is the API that is not there.
            raise InvalidResponse(
                f"There is no Egnyte API at {self.api_origin(session.settings)}. Check the domain.", status=error.status
            ) from None

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: EgnyteSettings) -> Verification:
        """Compares the secret with every header's value, or with the one header that the settings name."""
        only = settings.auth_header_name if settings.only_header else None
        return webhook.verify(request, secrets, only=only, expected=settings.auth_header_name)

    def parse(self, request: InboundRequest) -> Parsed:
        """An array of events, one event, or `{"events": [...]}`."""
        return webhook.parse(request)

    def new_secret(self) -> str:
        """A complete header value. With a scheme, because Egnyte may deliver it as Authorization."""
        return f"Bearer {super().new_secret()}"

    def secret_hint(self, settings: EgnyteSettings, secret: str | None) -> SecretHint:
        """The header as the receiver accepts it."""
        return SecretHint(kind=Proof.HEADER, header=settings.auth_header_name, value=secret)

    def sensitive_headers(self, settings: EgnyteSettings) -> frozenset[str]:
        """The usual ones and the header that the settings name."""
        return super().sensitive_headers(settings) | {settings.auth_header_name.lower()}


def _path(remote_id: str, call: str = "") -> str:
    return f"webhooks/{quote(remote_id, safe='')}" + (f"/{call}" if call else "")


def _status(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _body(settings: EgnyteSettings, registration: Registration[EgnyteConfig]) -> dict[str, object]:
    body: dict[str, object] = {
        "url": registration.callback_url,
        "eventType": list(registration.config.event_types),
    }
    if registration.config.paths:
        body["path"] = ",".join(registration.config.paths)
    if registration.secret:
        body |= _auth_header(settings, registration.secret)
    return body


def _auth_header(settings: EgnyteSettings, secret: str) -> dict[str, str]:
    if settings.auth_header_style == "name_and_value":
        return {"authHeader": settings.auth_header_name, "authHeaderValue": secret}
    return {"authHeader": secret}


def _secret_matches(settings: EgnyteSettings, details: dict[str, object], secret: str | None) -> bool | None:
    """Whether what is shown is what we would send; None while nothing comparable is shown."""
    if not secret:
        return None
    shown = responses.shown_in_clear(details.get("authHeader"))
    if settings.auth_header_style == "name_and_value":
        if shown is not None and shown.lower() != settings.auth_header_name.lower():
            return False
        shown = responses.shown_in_clear(details.get("authHeaderValue"))
    return None if shown is None else same(shown, secret)


def _of(remote_id: str, found: RemoteSubscription) -> RemoteSubscription:
    if found.remote_id != remote_id:
        raise InvalidResponse(f"The provider was asked about webhook {remote_id} and answered about another one.")
    return found
