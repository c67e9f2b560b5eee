"""The Egnyte Connect plug-in: capabilities and API calls.

Sources: Egnyte's "Connect Public API - webhooks" page; beplatform/egnyte-go-sdk v2/webhooks.go for what the page omits
(paths, the details call's URL, the second auth header field). Facts that neither confirms are settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, PermissionMissing, Unsupported
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.response_fields import unmasked_secret
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
        requires_https=True,
        methods=("POST",),
        has_event_id=True,
        rate_limit=RateLimit(per_second=2, per_day=1000),
        count_limit_by=("clientId", "domain"),
        case_insensitive_fields=("paths",),
        notes=(
            "The lifetime of a registration, and whether an update extends it. The granted expiry is always read back.",
            "The header that contains the secret. Every header is compared, unless a setting names one.",
            "The number of webhooks that one application may have in a domain (often 10). Egnyte's error is shown.",
            "The wildcards for workflow, group and user events.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = EgnyteSettings
    credentials_model = EgnyteCredentials
    config_model = EgnyteConfig
    secret_keys = frozenset({"authHeader", "authHeaderValue", "access_token"})
    manual_steps = (
        "As an administrator, add a webhook on Egnyte's pages, or call POST /pubapi/v1/webhooks of the domain.",
        "Enter the callback URL as the URL (`url`), and the event types as the events (`eventType`).",
        "Enter the secret, without the header's name, as the auth header (`authHeader`).",
        "To limit it to folders, enter their paths separated by commas (`path`).",
        "Renew and re-enable it at Egnyte yourself: it expires, and Egnyte disables it after failures.",
        "The subscription becomes active here with the first event that carries the secret.",
    )

    def origin(self, settings: EgnyteSettings) -> str:
        """Return `https://acme.egnyte.com`, or the host as entered."""
        host = settings.domain if "." in settings.domain else f"{settings.domain}.{API_HOSTS[0]}"
        return f"https://{host}"

    def rate_limit(self, settings: EgnyteSettings) -> RateLimit:
        """Return the limits of the access token from the settings."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: EgnyteConfig) -> dict[str, object]:
        """Return the config sorted, unique, without covered types and without the final slash of paths."""
        return responses.canonical(config.event_types, config.paths)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: EgnyteSession) -> Identity:
        """GET whoami, which names the owner, then GET webhooks, which proves that the token may manage webhooks.

        A token may be refused by the first call and accepted by the second. Warn if the owner is unknown, or if the
        webhook scope is missing from the listed ones.
        """
        try:
            identity = responses.read_identity(self._call(session, "GET", "whoami"))
        except (PermissionMissing, InvalidResponse, Unsupported) as error:
            identity = Identity(facts={}, warning=f"Egnyte does not show the owner of the token. {error.message}")
        self.list_remote(session)
        return identity

    def list_remote(self, session: EgnyteSession) -> tuple[RemoteSubscription, ...]:
        """GET webhooks, which returns only ID, status and expiry."""
        return responses.read_summaries(self._call(session, "GET", "webhooks").json())

    def register(self, session: EgnyteSession, registration: Registration[EgnyteConfig]) -> RemoteSubscription:
        """POST webhooks. A new webhook is always enabled: the API takes no status here."""
        self.require_usable_url(session.settings, registration.callback_url)
        response = self._call(session, "POST", "webhooks", _body(session.settings, registration))
        try:
            return responses.read_summary(response.json())
        except InvalidResponse as error:
            # Egnyte accepted the call, so there may be a new webhook whose ID we could not read.
            raise InvalidResponse(error.message, status=response.status, outcome_unknown=True) from None

    def read_remote(self, session: EgnyteSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET webhooks/{id}/details."""
        details = self._call(session, "GET", _path(remote_id, "details")).json_object()
        summary = _check_id(remote_id, responses.read_summary(details))
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
        """PUT webhooks/{id} with the whole config, then read the details, because the PUT's response is not specified.

        `renew` is the same call; the caller checks whether the expiry moved.
        """
        self.require_usable_url(session.settings, registration.callback_url)
        body = {**_body(session.settings, registration), "status": _status(registration.enabled)}
        self._call(session, "PUT", _path(remote_id), body)
        return self.read_remote(session, remote_id, registration.secret)

    def set_enabled(self, session: EgnyteSession, remote_id: str, enabled: bool) -> RemoteSubscription:
        """POST webhooks/{id}/status."""
        response = self._call(session, "POST", _path(remote_id, "status"), {"status": _status(enabled)})
        return _check_id(remote_id, responses.read_summary(response.json()))

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
            # The path names no webhook, so the API itself does not exist there.
            raise InvalidResponse(
                f"There is no Egnyte API at {self.api_origin(session.settings)}. Check the domain.", status=error.status
            ) from None

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: EgnyteSettings) -> Verification:
        """Compare the secret with the value of every header, or only of the header in the settings."""
        only = settings.auth_header_name if settings.only_header else None
        return webhook.verify(request, secrets, only=only, expected=settings.auth_header_name)

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse an array of events, one event, or `{"events": [...]}`."""
        return webhook.parse(request)

    def new_secret(self) -> str:
        """Return a complete header value, with a scheme, because Egnyte may send it as Authorization."""
        return f"Bearer {super().new_secret()}"

    def secret_hint(self, settings: EgnyteSettings, secret: str | None) -> SecretHint:
        """Return the header that the receiver accepts."""
        return SecretHint(kind=Proof.HEADER, header=settings.auth_header_name, value=secret)

    def sensitive_headers(self, settings: EgnyteSettings) -> frozenset[str]:
        """Return the default headers and the one in the settings."""
        return super().sensitive_headers(settings) | {settings.auth_header_name.lower()}


def _path(remote_id: str, call: str = "") -> str:
    return f"webhooks/{quote(remote_id, safe='')}" + (f"/{call}" if call else "")


def _status(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _body(settings: EgnyteSettings, registration: Registration[EgnyteConfig]) -> dict[str, object]:
    body: dict[str, object] = {"url": registration.callback_url}
    if registration.config.event_types:  # without types, Egnyte sends all events
        body["eventType"] = list(registration.config.event_types)
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
    """Return whether the response shows the header that we would send; None if it shows nothing comparable."""
    if not secret:
        return None
    shown = unmasked_secret(details.get("authHeader"))
    if settings.auth_header_style == "name_and_value":
        if shown is not None and shown.lower() != settings.auth_header_name.lower():
            return False
        shown = unmasked_secret(details.get("authHeaderValue"))
    return None if shown is None else same(shown, secret)


def _check_id(remote_id: str, summary: RemoteSubscription) -> RemoteSubscription:
    if summary.remote_id != remote_id:
        raise InvalidResponse(f"The provider was asked about webhook {remote_id} and described another one.")
    return summary
