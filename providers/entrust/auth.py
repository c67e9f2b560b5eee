"""Obtain Entrust access tokens, cache them until they expire, and make calls with them.

Source: Entrust's Administration API, `POST /api/web/v1/adminapi/authenticate`. The token is sent in `Authorization`
without a prefix. Documented lifetimes differ (15 minutes and one hour), so only `expirationTime` is used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from providers.contract.errors import AuthenticationFailed, ProviderError
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.entrust import errors, responses
from providers.entrust.schemas import EntrustCredentials, EntrustSettings

EntrustSession = ProviderSession[EntrustSettings, EntrustCredentials]

AUTHENTICATE_PATH = "/api/web/v1/adminapi/authenticate"
TOKEN_NAME = "admin_api"  # noqa: S105 - the name under which the token is cached


def call_with_token(session: EntrustSession, origin: str, call: Callable[[str], ProviderResponse]) -> ProviderResponse:
    """Run `call` with an access token and return its response.

    A cached token that is refused is replaced once: it may have been revoked, or the clocks differ. Raises
    ProviderError.
    """
    cached = session.tokens.get(TOKEN_NAME)
    if cached is not None:
        session.http.hide(cached)
        try:
            return call(cached)
        except AuthenticationFailed:
            session.tokens.forget(TOKEN_NAME)
    return call(_request_token(session, origin))


def _request_token(session: EntrustSession, origin: str) -> str:
    """Return a new access token, and cache it if its expiry is known and in the future."""
    credentials = session.credentials
    body = {"applicationId": credentials.application_id, "sharedSecret": credentials.shared_secret}
    try:
        response = session.http.call(
            "POST", f"{origin}{AUTHENTICATE_PATH}", json_body=body, read_error=errors.read_login_error
        )
        access = responses.read_access_token(response)
    except ProviderError as error:
        error.outcome_unknown = False  # a login changes nothing at the provider
        raise
    session.http.hide(access.token)
    if access.expires_at is not None and access.expires_at > datetime.now(UTC):
        session.tokens.put(TOKEN_NAME, access.token, access.expires_at)
    return access.token
