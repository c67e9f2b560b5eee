"""The Entrust plug-in: capabilities and management calls.

Sources: the "WebhooksApi" page of Entrust's Administration API (paths, permissions, statuses), the API's OpenAPI
document (schemas), and Entrust's pages on webhooks and their signatures. Facts that none of them confirms are settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

from providers.contract.base import Provider, Registration, RemoteSubscription, TestResult
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, ProviderError, Refused
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.responses import ProviderResponse
from providers.entrust import errors, responses, webhook
from providers.entrust.auth import EntrustSession, call_with_token
from providers.entrust.errors import UnknownProperty
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.responses import Webhook
from providers.entrust.schemas import EntrustConfig, EntrustCredentials, EntrustSettings

WEBHOOKS_PATH = "/api/web/v1/webhooks"
ADD, VIEW, EDIT, REMOVE = "WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"
DEFAULT_NAME = "Hookkeeper"  # newer servers require a name


class Entrust(Provider[EntrustSettings, EntrustCredentials, EntrustConfig]):
    """The Entrust plug-in."""

    slug = "entrust"
    name = "Entrust Identity as a Service"
    capabilities = Capabilities(
        can_list=True,
        list_has_details=True,
        reveals_url=True,
        can_update=True,
        can_set_status=True,
        can_test=True,
        can_identify=False,
        renewal=Renewal.UPDATE,
        expiry_set_by=ExpirySetBy.US,
        proof=Proof.RFC9421,
        secret_made_by=SecretMadeBy.PROVIDER,
        requires_https=True,
        methods=("POST",),
        has_event_id=True,
        success_statuses=(200, 201, 202, 204),
        answer_within=3.0,
        notes=(
            "Whether the server supports a webhook name: it is omitted if the server refuses it.",
            "Whether an update with an expiry extends the webhook: the granted expiry is read back.",
            "The time zone of the expiry: UTC is assumed.",
            "Whether the signing key is the token as text or decoded from base64: both are tried by default.",
            "The payload of the test call: any JSON is accepted.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = EntrustSettings
    credentials_model = EntrustCredentials
    config_model = EntrustConfig
    manual_steps = (
        "Ask a person whose role has WEBHOOKS:ADD to call POST /api/web/v1/webhooks.",
        "Send the callback URL as callbackUrl, and the events to receive.",
        "Copy the token from the response, which shows it only once, and enter it below as the secret.",
        "Until you enter it, Hookkeeper answers requests with 503, so that Entrust retries them.",
        "Renew the webhook at Entrust before it expires: Hookkeeper does not renew it.",
        "The subscription becomes active with the first request that has a valid signature.",
    )
    secret_keys = frozenset({"token", "authToken", "sharedSecret", "applicationId"})

    def origin(self, settings: EntrustSettings) -> str:
        """Return the account's host, such as `https://acme.us.trustedauth.com`."""
        return f"https://{settings.hostname}"

    def canonical(self, config: EntrustConfig) -> dict[str, object]:
        """Return the config with sorted, unique events and canonical filters."""
        return {
            "events": responses.canonical_events((item.type, item.filter) for item in config.events),
            "expiry_days": config.expiry_days,
        }

    # -- Calls ---------------------------------------------------------------------------------------------------

    def list_remote(self, session: EntrustSession) -> tuple[RemoteSubscription, ...]:
        """Return all webhooks, without their tokens: GET webhooks."""
        return responses.read_webhooks(self._call(session, "GET", "", VIEW).json())

    def read_remote(self, session: EntrustSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """Return one webhook: GET webhooks/{id}. Only a registration returns the token, so `secret` is not compared."""
        return self._read(session, remote_id).to_remote()

    def register(self, session: EntrustSession, registration: Registration[EntrustConfig]) -> RemoteSubscription:
        """Create a webhook and return it with its token: POST webhooks.

        No other call returns the token, so a webhook that is created without one is deleted again.
        """
        self.require_usable_url(session.settings, registration.callback_url)
        response = self._send_properties(session, "POST", "", _body(registration), ADD)
        try:
            created = responses.read_webhook(response.json())
        except InvalidResponse as error:
            # The status was a success, so there may be a new webhook whose ID could not be read.
            raise InvalidResponse(error.message, status=response.status, outcome_unknown=True) from None
        if created.token is None:
            raise self._discard_without_token(session, created)
        return replace(created.to_remote(), new_secret=created.token)

    def update(
        self, session: EntrustSession, remote_id: str, registration: Registration[EntrustConfig]
    ) -> RemoteSubscription:
        """Replace all properties and read the webhook back: PUT webhooks/{id}.

        `renew` is the same call. The days of `expiry` are assumed to count from now; the caller compares the expiry.
        """
        self.require_usable_url(session.settings, registration.callback_url)
        self._send_properties(session, "PUT", _path(remote_id), _body(registration), EDIT)
        return self._read(session, remote_id).to_remote()

    def set_enabled(self, session: EntrustSession, remote_id: str, enabled: bool) -> RemoteSubscription:
        """Read the webhook and send it back with `enabled` changed: GET, then PUT webhooks/{id}.

        The expiry is always sent, because an update without one may clear it. It is in whole days, rounded up.
        """
        current = self._read(session, remote_id)
        body = {
            "callbackUrl": current.callback_url,
            "events": _events(current.events or ()),
            "enabled": enabled,
            "expiry": current.days_left(datetime.now(UTC)),
            "name": current.name or DEFAULT_NAME,
        }
        self._send_properties(session, "PUT", _path(remote_id), body, EDIT)
        return self._read(session, remote_id).to_remote()

    def delete(self, session: EntrustSession, remote_id: str) -> None:
        """Delete a webhook: DELETE webhooks/{id}."""
        self._call(session, "DELETE", _path(remote_id), REMOVE)

    def test(self, session: EntrustSession, remote_id: str, registration: Registration[EntrustConfig]) -> TestResult:
        """Ask Entrust to send a test payload of its own to the callback URL: POST webhooks/test/{id}.

        Newer servers (from 5.46 on) take the URL of the test; it is omitted if the server refuses it.
        """
        path = f"/test{_path(remote_id)}"
        try:
            self._call(session, "POST", path, EDIT, {"callbackUrl": registration.callback_url})
        except Refused:
            self._call(session, "POST", path, EDIT)
        return TestResult(
            ok=True, detail="Entrust accepted the test. Its payload appears under Requests when it arrives."
        )

    def _read(self, session: EntrustSession, remote_id: str) -> Webhook:
        current = responses.read_webhook(self._call(session, "GET", _path(remote_id), VIEW).json())
        if current.id != remote_id:
            raise InvalidResponse(f"The provider returned another webhook than the requested {remote_id}.")
        return current

    def _discard_without_token(self, session: EntrustSession, created: Webhook) -> InvalidResponse:
        """Delete a webhook whose requests could never be verified, and return the error to raise."""
        problem = "Entrust registered the webhook, but its response had no token, and no other call returns it."
        try:
            self.delete(session, created.id)
        except ProviderError as error:
            return InvalidResponse(f"{problem} The webhook could not be deleted: {error.message}", outcome_unknown=True)
        return InvalidResponse(f"{problem} The webhook was deleted again.")

    def _send_properties(
        self, session: EntrustSession, method: str, path: str, body: Mapping[str, object], permission: str
    ) -> ProviderResponse:
        """Send a webhook's properties, without `name` if the server does not know it (before 5.46)."""
        nameless = {key: value for key, value in body.items() if key != "name"}
        if not session.settings.send_name:
            return self._call(session, method, path, permission, nameless)
        try:
            return self._call(session, method, path, permission, body)
        except UnknownProperty:
            return self._call(session, method, path, permission, nameless)

    def _call(
        self, session: EntrustSession, method: str, path: str, permission: str, body: object = None
    ) -> ProviderResponse:
        """Make a call; `path` is appended to `WEBHOOKS_PATH`, and `permission` is the one that the call requires."""
        origin = self.api_origin(session.settings)
        read_error = partial(errors.read_error, permission=permission)

        def call(token: str) -> ProviderResponse:
            headers = {"Authorization": token}
            return session.http.call(
                method, f"{origin}{WEBHOOKS_PATH}{path}", headers=headers, json_body=body, read_error=read_error
            )

        try:
            return call_with_token(session, origin, call)
        except NotFound as error:
            if path:
                raise
            # The call named no webhook, so the API itself was not found.
            raise InvalidResponse(
                f"There is no Entrust API at {origin}. Check the host name.", status=error.status
            ) from None

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: EntrustSettings) -> Verification:
        """Verify the RFC 9421 signature with the webhook's token as the key or, if accepted, an older one."""
        return webhook.verify(
            request,
            secrets,
            key_form=settings.key_form,
            max_age=settings.signature_max_age,
            accept_body_signature=settings.accept_body_signature,
        )

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse one event; a test payload may be any JSON."""
        return webhook.parse(request)


def _path(remote_id: str) -> str:
    return f"/{quote(remote_id, safe='')}"


def _body(registration: Registration[EntrustConfig]) -> dict[str, object]:
    config = registration.config
    return {
        "callbackUrl": registration.callback_url,
        "events": _events([(item.type, item.filter) for item in config.events]),
        "enabled": registration.enabled,
        "expiry": config.expiry_days,
        "name": registration.name or DEFAULT_NAME,
    }


def _events(events: Sequence[tuple[str, str | None]]) -> list[dict[str, str]]:
    return [{"type": name} if text is None else {"type": name, "filter": text} for name, text in events]
