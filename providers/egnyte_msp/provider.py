"""The Egnyte MSP plug-in: capabilities and API calls.

Sources: Egnyte's "MSP Public API" registration and receiver pages; beplatform/egnyte-go-sdk v2/msp.go for the paths and
the auth header. Facts that neither confirms are settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, PermissionMissing
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.response_fields import unmasked_secret
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.contract.signatures import same
from providers.egnyte_msp import responses, webhook
from providers.egnyte_msp.event_types import EVENT_TYPES, canonical
from providers.egnyte_msp.schemas import API_HOST, MspConfig, MspCredentials, MspSettings

MspSession = ProviderSession[MspSettings, MspCredentials]

WEBHOOKS = "msp/webhooks"


class EgnyteMsp(Provider[MspSettings, MspCredentials, MspConfig]):
    """The Egnyte MSP plug-in."""

    slug = "egnyte-msp"
    name = "Egnyte MSP"
    capabilities = Capabilities(
        can_list=True,
        list_has_details=False,
        reveals_url=True,
        can_update=True,
        can_set_status=False,
        update_may_enable=True,
        can_test=False,
        can_identify=True,
        renewal=Renewal.NONE,
        expiry_set_by=ExpirySetBy.NOBODY,
        proof=Proof.HEADER,
        secret_made_by=SecretMadeBy.US,
        requires_https=True,
        methods=("POST",),
        has_event_id=False,
        rate_limit=RateLimit(per_second=2, per_day=1000),
        count_limit_by=("clientId", "domain"),
        personal_data="Events contain names and email addresses of resellers and of the persons who caused the event.",
        retention_days=30,
        notes=(
            "Events contain names and email addresses: keep them no longer than necessary.",
            "Whether the field is eventTypes or event_types in requests. It is a setting; both are read.",
            "Whether an update enables a webhook that Egnyte disabled. It is tried; else the webhook is replaced.",
            "The number of webhooks that one application may have in an NFR domain. Egnyte's error is shown.",
            "The fields of all events but RESELLER_LINK_NFR_MANUALLY. Only their event type is required.",
            "The rate limits. The usual limits of Egnyte's other APIs are assumed.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = MspSettings
    credentials_model = MspCredentials
    config_model = MspConfig
    secret_keys = frozenset({"auth_header_value", "access_token"})
    manual_steps = (
        "Have a person with an MSP token call POST https://<NFR domain>.egnyte.com/pubapi/v1/msp/webhooks.",
        "Send the callback URL as webhook_url and the event types as eventTypes.",
        "Send the header's name as auth_header and the secret as auth_header_value.",
    )

    def origin(self, settings: MspSettings) -> str:
        """Return `https://acme.egnyte.com`, from the name or the host as entered."""
        host = settings.domain if "." in settings.domain else f"{settings.domain}.{API_HOST}"
        return f"https://{host}"

    def rate_limit(self, settings: MspSettings) -> RateLimit:
        """Return the limits of the access token from the settings."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: MspConfig) -> dict[str, object]:
        """Return the event types sorted and unique."""
        return canonical(config.event_types)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: MspSession) -> Identity:
        """GET whoami, which belongs to Egnyte's other API and may be closed to an MSP token.

        In that case the list call checks the token, but does not identify its owner.
        """
        try:
            return responses.read_identity(self._call(session, "GET", "whoami"))
        except (NotFound, PermissionMissing):
            webhooks = self.list_remote(session)
            return Identity(facts={"whoami": "not available to this token", "webhooks": len(webhooks)})

    def list_remote(self, session: MspSession) -> tuple[RemoteSubscription, ...]:
        """GET msp/webhooks, which returns only ID and status."""
        return responses.read_summaries(self._call_collection(session, "GET").json())

    def register(self, session: MspSession, registration: Registration[MspConfig]) -> RemoteSubscription:
        """POST msp/webhooks. A new webhook is always enabled: the API takes no status."""
        self.require_usable_url(session.settings, registration.callback_url)
        response = self._call_collection(session, "POST", _body(session.settings, registration))
        try:
            return responses.read_summary(response.json())
        except InvalidResponse as error:
            # Egnyte accepted the call, so there may be a new webhook whose ID we could not read.
            raise InvalidResponse(error.message, status=response.status, outcome_unknown=True) from None

    def read_remote(self, session: MspSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET msp/webhooks/{id}. The response shows the secret in clear; it is only compared."""
        details = self._call(session, "GET", _path(remote_id)).json_object()
        summary = responses.read_summary(details)
        if summary.remote_id != remote_id:
            raise InvalidResponse(f"The provider was asked about webhook {remote_id} and described another one.")
        return RemoteSubscription(
            remote_id=summary.remote_id,
            status=summary.status,
            enabled=summary.enabled,
            url=responses.read_url(details),
            config=responses.read_config(details),
            secret_matches=_secret_matches(session.settings, details, secret),
        )

    def update(self, session: MspSession, remote_id: str, registration: Registration[MspConfig]) -> RemoteSubscription:
        """PUT msp/webhooks/{id} with the whole config, then read the result.

        No field sets the status; the caller checks whether the update enabled the webhook.
        """
        self.require_usable_url(session.settings, registration.callback_url)
        self._call(session, "PUT", _path(remote_id), _body(session.settings, registration))
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: MspSession, remote_id: str) -> None:
        """DELETE msp/webhooks/{id}."""
        responses.check_deleted(self._call(session, "DELETE", _path(remote_id)))

    def _call_collection(self, session: MspSession, method: str, body: object = None) -> ProviderResponse:
        try:
            return self._call(session, method, WEBHOOKS, body)
        except NotFound as error:
            # The path names no webhook, so the API itself does not exist there.
            raise InvalidResponse(
                f"There is no Egnyte MSP API at {self.api_origin(session.settings)}. Check the domain: it must be the"
                " NFR domain of an approved MSP partner.",
                status=error.status,
            ) from None

    def _call(self, session: MspSession, method: str, path: str, body: object = None) -> ProviderResponse:
        return session.http.call(
            method,
            f"{self.api_origin(session.settings)}/pubapi/v1/{path}",
            headers={"Authorization": f"Bearer {session.credentials.access_token}"},
            json_body=body,
            read_error=responses.read_error,
        )

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: MspSettings) -> Verification:
        """Compare the secret with the value of every header; the settings name the expected one."""
        return webhook.verify(request, secrets, expected=settings.auth_header_name)

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse one event, or an array of events."""
        return webhook.parse(request)

    def secret_hint(self, settings: MspSettings, secret: str | None) -> SecretHint:
        """Return the header that Egnyte is asked to send."""
        return SecretHint(kind=Proof.HEADER, header=settings.auth_header_name, value=secret)

    def sensitive_headers(self, settings: MspSettings) -> frozenset[str]:
        """Return the default headers and the one in the settings."""
        return super().sensitive_headers(settings) | {settings.auth_header_name.lower()}


def _path(remote_id: str) -> str:
    return f"{WEBHOOKS}/{quote(remote_id, safe='')}"


def _body(settings: MspSettings, registration: Registration[MspConfig]) -> dict[str, object]:
    body: dict[str, object] = {
        "webhook_url": registration.callback_url,
        settings.event_types_field: list(registration.config.event_types),
    }
    if registration.secret:
        body |= {"auth_header": settings.auth_header_name, "auth_header_value": registration.secret}
    return body


def _secret_matches(settings: MspSettings, details: Mapping[str, object], secret: str | None) -> bool | None:
    """Return whether the response shows the header that we would send; None if it shows too little."""
    if not secret:
        return None
    name = unmasked_secret(details.get("auth_header"))
    if name is not None and name.lower() != settings.auth_header_name.lower():
        return False
    value = unmasked_secret(details.get("auth_header_value"))
    return None if value is None else same(value, secret)
