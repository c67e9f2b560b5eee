"""Calls with an access token, which is obtained with the application's credentials and kept until its own expiry.

Source: Entrust's Administration API, `POST /api/web/v1/adminapi/authenticate`. The token goes into `Authorization` as
it stands. How long it lives differs (15 minutes and an hour are documented), so only its expirationTime counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from providers.contract.errors import AuthenticationFailed, ProviderError
from providers.contract.responses import Answer
from providers.contract.session import ProviderSession
from providers.entrust import responses
from providers.entrust.schemas import EntrustCredentials, EntrustSettings

EntrustSession = ProviderSession[EntrustSettings, EntrustCredentials]

AUTHENTICATE = "/api/web/v1/adminapi/authenticate"
KEPT_AS = "admin_api"


def with_token(session: EntrustSession, origin: str, call: Callable[[str], Answer]) -> Answer:
    """Makes a call that needs an access token. A kept one that is refused is replaced once: it may have been withdrawn,
    or their clock differs from ours. Raises ProviderError."""
    kept = session.tokens.get(KEPT_AS)
    if kept is not None:
        session.http.hide(kept)
        try:
            return call(kept)
        except AuthenticationFailed:
            session.tokens.forget(KEPT_AS)
    return call(_fresh_token(session, origin))


def _fresh_token(session: EntrustSession, origin: str) -> str:
    credentials = session.credentials
    body = {"applicationId": credentials.application_id, "sharedSecret": credentials.shared_secret}
    try:
        answer = session.http.call(
            "POST", f"{origin}{AUTHENTICATE}", json_body=body, read_error=responses.read_login_error
        )
        access = responses.read_access(answer)
    except ProviderError as error:
        error.outcome_unknown = False  # whatever came of it, logging in changes nothing there
        raise
    session.http.hide(access.token)
    if access.expires_at is not None and access.expires_at > datetime.now(UTC):
        session.tokens.put(KEPT_AS, access.token, access.expires_at)
    return access.token
