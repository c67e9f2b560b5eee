"""Egnyte MSP: what its webhook API can do, and the calls.

Sources: Egnyte's "MSP Public API" registration and receiver pages; beplatform/egnyte-go-sdk v2/msp.go for the paths and
what it says about the auth header. What neither confirms is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, PermissionMissing
from providers.contract.parsing import InboundRequest, Parsed, Verification
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
        methods=("POST",),
        has_event_id=False,
        rate_limit=RateLimit(per_second=2, per_day=1000),
        count_limit_by=("clientId", "domain"),
        personal_data="Events hold names and e-mail addresses of resellers, and of those who caused the event.",
        retention_days=30,
        notes=(
            "Events hold names and e-mail addresses of persons: keep them no longer than you need them.",
            "Whether the event types are sent as eventTypes or event_types: a setting; both are read.",
            "Whether an update switches a webhook on again that Egnyte switched off: tried first, else it is replaced.",
            "How many webhooks one application may have in an NFR domain: Egnyte's refusal is shown.",
            "The fields of all events but RESELLER_LINK_NFR_MANUALLY: only the event type is required of them.",
            "The call limits: those that are usual for Egnyte's other APIs.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = MspSettings
    credentials_model = MspCredentials
    config_model = MspConfig
    secret_keys = frozenset({"auth_header_value", "access_token"})
    manual_steps = (
        "Have somebody with an MSP token call POST https://<NFR domain>.egnyte.com/pubapi/v1/msp/webhooks.",
        "Give the callback URL as webhook_url and the wanted types as eventTypes.",
        "Give the name of the header as auth_header and the secret as auth_header_value.",
    )

    def origin(self, settings: MspSettings) -> str:
        """`https://acme.egnyte.com`, from the name or the host as entered."""
        host = settings.domain if "." in settings.domain else f"{settings.domain}.{API_HOST}"
        return f"https://{host}"

    def rate_limit(self, settings: MspSettings) -> RateLimit:
        """The limits of the access token, as set for this account."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: MspConfig) -> dict[str, object]:
        """Sorted and unique."""
        return canonical(config.event_types)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: MspSession) -> Identity:
        """GET whoami, which belongs to Egnyte's other API and may not be open to an MSP token: then the list call
        tells whether the token is good, though not whose it is."""
        try:
            return responses.read_identity(self._call(session, "GET", "whoami"))
        except (NotFound, PermissionMissing):
            webhooks = self.list_remote(session)
            return Identity(facts={"whoami": "not available to this token", "webhooks": len(webhooks)})

    def list_remote(self, session: MspSession) -> tuple[RemoteSubscription, ...]:
        """GET msp/webhooks: ids and status only."""
        return responses.read_summaries(self._call_collection(session, "GET").json())

    def register(self, session: MspSession, registration: Registration[MspConfig]) -> RemoteSubscription:
        """POST msp/webhooks. It begins enabled, whatever is wanted: the API takes no status."""
        answer = self._call_collection(session, "POST", _body(session.settings, registration))
        try:
            return responses.read_summary(answer.json())
        except InvalidResponse as error:
            # Egnyte said yes, so there may be a new webhook whose id we could not read.
            raise InvalidResponse(error.message, status=answer.status, outcome_unknown=True) from None

    def read_remote(self, session: MspSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET msp/webhooks/{id}. The secret stands in the answer in clear: it is compared and goes no further."""
        details = self._call(session, "GET", _path(remote_id)).json_object()
        summary = responses.read_summary(details)
        if summary.remote_id != remote_id:
            raise InvalidResponse(f"The provider was asked about webhook {remote_id} and answered about another one.")
        return RemoteSubscription(
            remote_id=summary.remote_id,
            status=summary.status,
            enabled=summary.enabled,
            url=responses.read_url(details),
            config=responses.read_config(details),
            secret_matches=_secret_matches(session.settings, details, secret),
        )

    def update(self, session: MspSession, remote_id: str, registration: Registration[MspConfig]) -> RemoteSubscription:
        """PUT msp/webhooks/{id} with everything (it replaces the config), then reads what is there now. No field sets
        the status; whether it is switched on again by this is for the caller to see."""
        self._call(session, "PUT", _path(remote_id), _body(session.settings, registration))
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: MspSession, remote_id: str) -> None:
        """DELETE msp/webhooks/{id}."""
        responses.check_deleted(self._call(session, "DELETE", _path(remote_id)))

    def _call_collection(self, session: MspSession, method: str, body: object = None) -> ProviderResponse:
        try:
            return self._call(session, method, WEBHOOKS, body)
        except NotFound as error:
            # No webhook was named, so it is the API that is not there.
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
        """Compares the secret with every header's value; the settings name the one in which it should come."""
        return webhook.verify(request, secrets, expected=settings.auth_header_name)

    def parse(self, request: InboundRequest) -> Parsed:
        """One event, or an array of them."""
        return webhook.parse(request)

    def secret_hint(self, settings: MspSettings, secret: str | None) -> SecretHint:
        """The header as Egnyte is told to send it."""
        return SecretHint(kind=Proof.HEADER, header=settings.auth_header_name, value=secret)

    def sensitive_headers(self, settings: MspSettings) -> frozenset[str]:
        """The usual ones and the header that the settings name."""
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
    """Whether the header shown is the one that we would send, name and value; None while too little is shown."""
    if not secret:
        return None
    name = responses.shown_in_clear(details.get("auth_header"))
    if name is not None and name.lower() != settings.auth_header_name.lower():
        return False
    value = responses.shown_in_clear(details.get("auth_header_value"))
    return None if value is None else same(value, secret)
