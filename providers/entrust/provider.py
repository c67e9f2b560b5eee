"""Entrust Identity as a Service: what its webhook API can do, and the calls.

Sources: the "WebhooksApi" page of Entrust's Administration API (paths, permissions, statuses), the API's OpenAPI
document (schemas), and Entrust's pages on webhooks and their signatures. What none of them confirms is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

from providers.contract.base import Provider, Registration, RemoteSubscription, TestResult
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import BadAnswer, NotFound, ProviderError
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.responses import Answer
from providers.entrust import responses, webhook
from providers.entrust.auth import EntrustSession, with_token
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.responses import UnknownProperty, Webhook
from providers.entrust.schemas import EntrustConfig, EntrustCredentials, EntrustSettings

WEBHOOKS = "/api/web/v1/webhooks"
ADD, VIEW, EDIT, REMOVE = "WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"
UNNAMED = "Hookkeeper"  # newer servers want a name


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
        methods=("POST",),
        has_event_id=True,
        success_statuses=(200, 201, 202, 204),
        answer_within=3.0,
        notes=(
            "Whether the server knows a webhook's name: it is left out when the server refuses it.",
            "Whether an update with an expiry prolongs it: the granted expiry is read back.",
            "The time zone of the expiry: taken as UTC.",
            "Whether the token itself or what it decodes to signs: both are tried unless a setting narrows it.",
            "What the test call sends: any JSON is accepted.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = EntrustSettings
    credentials_model = EntrustCredentials
    config_model = EntrustConfig
    manual_steps = (
        "Have somebody whose role holds WEBHOOKS:ADD call POST /api/web/v1/webhooks.",
        "Give the callback URL as callbackUrl, and the wanted events.",
        "Copy the token of the answer: Entrust shows it this once. Enter it below, under Secret.",
        "Until it is entered, requests are answered 503, so that Entrust sends them again.",
        "Renew it there before its expiry: nothing is renewed from here.",
        "The subscription becomes active with the first request whose signature fits.",
    )
    secret_keys = frozenset({"token", "authToken", "sharedSecret", "applicationId"})

    def origin(self, settings: EntrustSettings) -> str:
        """`https://acme.us.trustedauth.com`."""
        return f"https://{settings.hostname}"

    def canonical(self, config: EntrustConfig) -> dict[str, object]:
        """Events sorted and unique, with filters written in one way."""
        return {
            "events": responses.canonical_events((item.type, item.filter) for item in config.events),
            "expiry_days": config.expiry_days,
        }

    # -- Calls ---------------------------------------------------------------------------------------------------

    def list_remote(self, session: EntrustSession) -> tuple[RemoteSubscription, ...]:
        """GET webhooks: everything but the tokens."""
        found = responses.read_webhooks(self._call(session, "GET", "", VIEW).json())
        return tuple(item.as_remote() for item in found)

    def read_remote(self, session: EntrustSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET webhooks/{id}. The token is shown only at registration, so `secret` has nothing to be compared with."""
        return self._read(session, remote_id).as_remote()

    def register(self, session: EntrustSession, registration: Registration[EntrustConfig]) -> RemoteSubscription:
        """POST webhooks. Its answer alone carries the token: without one the webhook is of no use and goes again."""
        answer = self._send(session, "POST", "", _body(registration), ADD)
        try:
            made = responses.read_webhook(answer.json())
        except BadAnswer as error:
            # Entrust said yes, so there may be a new webhook whose id we could not read.
            raise BadAnswer(error.message, status=answer.status, outcome_unknown=True) from None
        if made.token is None:
            raise self._without_token(session, made)
        return replace(made.as_remote(), new_secret=made.token)

    def update(
        self, session: EntrustSession, remote_id: str, registration: Registration[EntrustConfig]
    ) -> RemoteSubscription:
        """PUT webhooks/{id} with everything, then reads it back. `renew` is the same: the days of `expiry` are
        assumed to count from now; whether the end moves is for the caller to see."""
        self._send(session, "PUT", _path(remote_id), _body(registration), EDIT)
        return self._read(session, remote_id).as_remote()

    def set_enabled(self, session: EntrustSession, remote_id: str, enabled: bool) -> RemoteSubscription:
        """GET, then PUT webhooks/{id} with all of it again and `enabled` changed. The expiry is always sent: an update
        without one may clear it. It counts whole days, so what is left of it is rounded up."""
        found = self._read(session, remote_id)
        body = {
            "callbackUrl": found.callback_url,
            "events": _events(found.events),
            "enabled": enabled,
            "expiry": found.days_left(datetime.now(UTC)),
            "name": found.name or UNNAMED,
        }
        self._send(session, "PUT", _path(remote_id), body, EDIT)
        return self._read(session, remote_id).as_remote()

    def delete(self, session: EntrustSession, remote_id: str) -> None:
        """DELETE webhooks/{id}."""
        self._call(session, "DELETE", _path(remote_id), REMOVE)

    def test(self, session: EntrustSession, remote_id: str, registration: Registration[EntrustConfig]) -> TestResult:
        """POST webhooks/test/{id}: Entrust then sends a payload of its own making to the callback URL."""
        self._call(session, "POST", f"/test{_path(remote_id)}", EDIT)
        return TestResult(
            ok=True, detail="Entrust accepted the test. Its test payload appears among the requests when it arrives."
        )

    def _read(self, session: EntrustSession, remote_id: str) -> Webhook:
        found = responses.read_webhook(self._call(session, "GET", _path(remote_id), VIEW).json())
        if found.id != remote_id:
            raise BadAnswer(f"The provider was asked about webhook {remote_id} and answered about another one.")
        return found

    def _without_token(self, session: EntrustSession, made: Webhook) -> BadAnswer:
        """Removes a webhook whose requests we could never verify; returns the error that says so."""
        told = "Entrust registered the webhook, but its answer had no token, and no later answer has."
        try:
            self.delete(session, made.id)
        except ProviderError as error:
            return BadAnswer(f"{told} It could not be removed: {error.message}", outcome_unknown=True)
        return BadAnswer(f"{told} It was removed again.")

    def _send(
        self, session: EntrustSession, method: str, path: str, body: Mapping[str, object], permission: str
    ) -> Answer:
        """Sends a webhook's properties; without `name` where the server does not know it (before 5.46)."""
        nameless = {key: value for key, value in body.items() if key != "name"}
        if not session.settings.send_name:
            return self._call(session, method, path, permission, nameless)
        try:
            return self._call(session, method, path, permission, body)
        except UnknownProperty:
            return self._call(session, method, path, permission, nameless)

    def _call(self, session: EntrustSession, method: str, path: str, permission: str, body: object = None) -> Answer:
        """`path` is below that of all webhooks; `permission` is what the call needs of the application's role."""
        origin = self.api_origin(session.settings)
        read_error = partial(responses.read_error, permission=permission)

        def call(token: str) -> Answer:
            headers = {"Authorization": token}
            return session.http.call(
                method, f"{origin}{WEBHOOKS}{path}", headers=headers, json_body=body, read_error=read_error
            )

        try:
            return with_token(session, origin, call)
        except NotFound as error:
            if path:
                raise
            # No webhook was named, so it is the API that is not there.
            raise BadAnswer(f"There is no Entrust API at {origin}. Check the host name.", status=error.status) from None

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: EntrustSettings) -> Verification:
        """RFC 9421 with the webhook's token as the key."""
        return webhook.verify(request, secrets, key_form=settings.key_form, max_age=settings.signature_max_age)

    def parse(self, request: InboundRequest) -> Parsed:
        """One event; a test payload may be any JSON."""
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
        "name": registration.name or UNNAMED,
    }


def _events(events: Sequence[tuple[str, str | None]]) -> list[dict[str, str]]:
    return [{"type": name} if text is None else {"type": name, "filter": text} for name, text in events]
