"""Acme Box, which can only register, read and delete webhooks, but not list them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription
from providers.contract.capabilities import Action, Capabilities, EventType, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, UnreadableRequest
from providers.contract.event_fields import clean_text
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    Verification,
    VerificationResult,
    is_empty,
    load_json,
)
from providers.contract.session import ProviderSession
from providers.contract.signatures import same

from .schemas import AcmeConfig, AcmeCredentials, AcmeSettings

AcmeSession = ProviderSession[AcmeSettings, AcmeCredentials]
SIGNATURE = "X-Acme-Signature"
MAX_ID = 200


class AcmeBox(Provider[AcmeSettings, AcmeCredentials, AcmeConfig]):
    """The Acme Box plug-in."""

    slug = "acme-box"
    name = "Acme Box"
    capabilities = Capabilities(
        can_list=False,
        list_has_details=False,
        reveals_url=True,
        can_update=False,
        can_set_status=False,
        can_test=False,
        can_identify=True,
        renewal=Renewal.NONE,
        expiry_set_by=ExpirySetBy.NOBODY,
        proof=Proof.HMAC,
        secret_made_by=SecretMadeBy.US,
        methods=("POST",),
        has_event_id=True,
    )
    event_types = (
        EventType("box.filled", Action.CREATED, "Boxes", "A box was filled", "box"),
        EventType("box.emptied", Action.DELETED, "Boxes", "A box was emptied", "box"),
    )
    settings_model = AcmeSettings
    credentials_model = AcmeCredentials
    config_model = AcmeConfig
    secret_keys = frozenset({"key"})

    def origin(self, settings: AcmeSettings) -> str:
        """Return the team's host."""
        return f"https://{settings.team}.acme.example"

    def identify(self, session: AcmeSession) -> Identity:
        """Return the team."""
        team = self._call(session, "GET", "/acme/team").get("team")
        if not isinstance(team, str):
            raise InvalidResponse("Acme's response does not name the team.")
        return Identity({"team": team})

    def register(self, session: AcmeSession, registration: Registration[AcmeConfig]) -> RemoteSubscription:
        """Create a webhook: POST /acme/hooks."""
        body = {
            "target": registration.callback_url,
            "kinds": list(registration.config.kinds),
            "key": registration.secret,
        }
        return _remote(self._call(session, "POST", "/acme/hooks", body))

    def read_remote(self, session: AcmeSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """Return one webhook: GET /acme/hooks/<id>."""
        return _remote(self._call(session, "GET", f"/acme/hooks/{remote_id.encode().hex()}"))

    def delete(self, session: AcmeSession, remote_id: str) -> None:
        """Delete a webhook: DELETE /acme/hooks/<id>."""
        session.http.call(
            "DELETE", self._url(session, f"/acme/hooks/{remote_id.encode().hex()}"), headers=_auth(session)
        )

    def canonical(self, config: AcmeConfig) -> dict[str, object]:
        """Return the kinds sorted and unique."""
        return {"kinds": sorted(set(config.kinds))}

    def sensitive_headers(self, settings: AcmeSettings) -> frozenset[str]:
        """Add the signature."""
        return super().sensitive_headers(settings) | {SIGNATURE.lower()}

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: AcmeSettings) -> Verification:
        """Check the HMAC-SHA256 of the body, in hex."""
        for name, value in request.headers:
            for index, secret in enumerate(secrets):
                if name.lower() == SIGNATURE.lower() and secret and same(value, signature(secret, request.body)):
                    return Verification(VerificationResult.VERIFIED, "The signature is valid.", index, (name,))
        return Verification(VerificationResult.FAILED, "No valid signature.")

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse the one event of a call."""
        if is_empty(request.body):
            return Parsed(ping=True)
        value = load_json(request.body)
        fields = value if isinstance(value, dict) else {}
        event_id, kind = clean_text(fields.get("id"), limit=200), clean_text(fields.get("kind"), limit=100)
        if event_id is None or kind is None:
            raise UnreadableRequest("Expected an object with the strings id and kind.")
        event_type = self.event_type(kind)
        event = ParsedEvent(
            type=kind,
            action=event_type.action if event_type else Action.OTHER,
            data=value,
            dedup_key=event_id,
            provider_event_id=event_id,
            resource_type="box",
            resource=clean_text(fields.get("box"), limit=2000),
        )
        return Parsed(events=(event,))

    def _url(self, session: AcmeSession, path: str) -> str:
        return self.api_origin(session.settings) + path

    def _call(self, session: AcmeSession, method: str, path: str, body: object = None) -> dict[str, object]:
        return session.http.call(method, self._url(session, path), headers=_auth(session), json_body=body).json_object()


def signature(secret: str, body: bytes) -> str:
    """Return the signature in Acme's header."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _auth(session: AcmeSession) -> dict[str, str]:
    return {"X-Acme-Key": session.credentials.key}


def _remote(response: Mapping[str, object]) -> RemoteSubscription:
    remote_id, target, kinds = response.get("id"), response.get("target"), response.get("kinds")
    if not isinstance(remote_id, str) or not 0 < len(remote_id) <= MAX_ID or not remote_id.isprintable():
        raise InvalidResponse("Acme's response has no usable ID.", outcome_unknown=True)
    if not isinstance(target, str) or not isinstance(kinds, list):
        raise InvalidResponse("Acme's response is not a hook.", outcome_unknown=True)
    return RemoteSubscription(
        remote_id=remote_id,
        status="on",
        enabled=True,
        url=target,
        config={"kinds": sorted(map(str, kinds))},
    )
