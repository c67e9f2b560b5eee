"""Provide the bearer token of an account: entered, or obtained with client ID and secret and cached until it expires.

Source of the login call: community code for SideDrawer's "developer login"; the page that would confirm it is not
public. The gateway's host is confirmed for the sandbox; the production host is derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from providers.contract.errors import AuthenticationFailed, InvalidResponse, ProviderError
from providers.contract.responses import ProviderResponse
from providers.contract.schemas import VISIBLE_ASCII
from providers.contract.session import ProviderSession
from providers.sidedrawer.schemas import SideDrawerCredentials, SideDrawerSettings

SideDrawerSession = ProviderSession[SideDrawerSettings, SideDrawerCredentials]

TOKEN_NAME = "access_token"  # noqa: S105 - the name under which the token is cached
GATEWAYS: Mapping[str, str] = {
    "production": "https://tenants-gateway-api.sidedrawer.com",
    "sandbox": "https://tenants-gateway-api-sbx.sidedrawersbx.com",
}
DEFAULT_LIFETIME_SECONDS = 300.0
MAX_LIFETIME_SECONDS = 30 * 86400.0


def call_with_token(session: SideDrawerSession, send: Callable[[str], ProviderResponse]) -> ProviderResponse:
    """Run `send` with the account's token and return its response. A refused cached token is replaced once.

    Raises the errors of the call; AuthenticationFailed if the credentials themselves are refused.
    """
    if session.credentials.access_token:
        return send(session.credentials.access_token)
    cached = session.tokens.get(TOKEN_NAME)
    if cached:
        _hide(session, cached)
        try:
            return send(cached)
        except AuthenticationFailed:
            session.tokens.forget(TOKEN_NAME)
    return send(_log_in(session))


def login_origin(settings: SideDrawerSettings) -> str:
    """Return the origin of the developer login."""
    return settings.login_url or settings.base_url or GATEWAYS[settings.environment]


def login_url(settings: SideDrawerSettings, client_id: str) -> str:
    """Return the URL of the developer login."""
    tenant, client = quote(settings.tenant_id, safe=""), quote(client_id, safe="")
    path = f"/api/v1/developers/tenant/tenant-id/{tenant}/applications/client-id/{client}/developer-login"
    return login_origin(settings) + path


def _log_in(session: SideDrawerSession) -> str:
    """Return a new token of the developer login, and cache it."""
    credentials = session.credentials
    url = login_url(session.settings, credentials.client_id or "")
    body = {"clientSecret": credentials.client_secret}
    response = session.http.call("POST", url, json_body=body, expected=(200, 201), read_error=_read_error)
    token, seconds = _read_token(response)
    _hide(session, token)
    # The cached token expires a little earlier than the real one, so that it does not expire during a call.
    session.tokens.put(TOKEN_NAME, token, datetime.now(UTC) + timedelta(seconds=seconds - min(60.0, seconds / 10)))
    return token


def _read_error(response: ProviderResponse) -> ProviderError | None:
    if response.status in (400, 401, 403, 422):
        return AuthenticationFailed(
            f"SideDrawer refused client ID and client secret ({response.status}). Check them and the tenant ID.",
            status=response.status,
        )
    if response.status in (404, 405):
        return InvalidResponse(
            f"SideDrawer's developer login was not found ({response.status}). Check the tenant ID, the client ID and"
            " the settings environment and login_url, or enter an access token instead.",
            status=response.status,
        )
    return None


def _read_token(response: ProviderResponse) -> tuple[str, float]:
    """Return the token and its lifetime in seconds, from `{access_token, expires_in}`, in `data` or camel case too."""
    item = response.json_object()
    inner = item.get("data")
    for fields in (item, inner if isinstance(inner, dict) else {}):
        token = fields.get("access_token") or fields.get("accessToken")
        if isinstance(token, str) and VISIBLE_ASCII.fullmatch(token):
            return token, _seconds(fields.get("expires_in", fields.get("expiresIn")))
    raise InvalidResponse(
        "The response of SideDrawer's developer login has no usable access_token.", status=response.status
    )


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else DEFAULT_LIFETIME_SECONDS
    except (ValueError, OverflowError):
        seconds = DEFAULT_LIFETIME_SECONDS
    return min(max(seconds, 0.0), MAX_LIFETIME_SECONDS) if seconds == seconds else DEFAULT_LIFETIME_SECONDS


def _hide(session: SideDrawerSession, token: str) -> None:
    if token not in session.http.secrets:
        session.http.hide(token)
