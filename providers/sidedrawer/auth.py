"""The bearer token of an account: pasted, or obtained with client id and client secret and kept until it expires.

Source of the login call: community code for SideDrawer's "developer login"; the page that would confirm it is not
public. The gateway's host is known for the sandbox; the one for production is its counterpart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from providers.contract.errors import AuthenticationFailed, InvalidResponse, ProviderError
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.sidedrawer.schemas import SideDrawerCredentials, SideDrawerSettings

SideDrawerSession = ProviderSession[SideDrawerSettings, SideDrawerCredentials]

TOKEN = "access_token"  # noqa: S105 - its name in the token store
GATEWAYS: Mapping[str, str] = {
    "production": "https://tenants-gateway-api.sidedrawer.com",
    "sandbox": "https://tenants-gateway-api-sbx.sidedrawersbx.com",
}
LIFE_IF_UNSAID = 300.0  # seconds
LONGEST_LIFE = 30 * 86400.0
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def with_token(session: SideDrawerSession, send: Callable[[str], ProviderResponse]) -> ProviderResponse:
    """Makes a call with the account's token. One that was kept and is no longer accepted is replaced, once.

    Raises whatever the call raises; AuthenticationFailed when the credentials themselves are refused.
    """
    if session.credentials.access_token:
        return send(session.credentials.access_token)
    kept = session.tokens.get(TOKEN)
    if kept:
        _hide(session, kept)
        try:
            return send(kept)
        except AuthenticationFailed:
            session.tokens.forget(TOKEN)
    return send(_log_in(session))


def login_address(settings: SideDrawerSettings, client_id: str) -> str:
    """URL of the developer login."""
    origin = settings.login_url or settings.base_url or GATEWAYS[settings.environment]
    tenant, client = quote(settings.tenant_id, safe=""), quote(client_id, safe="")
    return f"{origin}/api/v1/developers/tenant/tenant-id/{tenant}/applications/client-id/{client}/developer-login"


def _log_in(session: SideDrawerSession) -> str:
    credentials = session.credentials
    url = login_address(session.settings, credentials.client_id or "")
    body = {"clientSecret": credentials.client_secret}
    answer = session.http.call("POST", url, json_body=body, expected=(200, 201), read_error=_refusal)
    token, seconds = _read_token(answer)
    _hide(session, token)
    # A little earlier than it ends, so that none ends on its way.
    session.tokens.put(TOKEN, token, datetime.now(UTC) + timedelta(seconds=seconds - min(60.0, seconds / 10)))
    return token


def _refusal(answer: ProviderResponse) -> ProviderError | None:
    if answer.status in (400, 401, 403, 422):
        return AuthenticationFailed(
            f"SideDrawer refused client id and client secret ({answer.status}). Check them and the tenant id.",
            status=answer.status,
        )
    if answer.status in (404, 405):
        return InvalidResponse(
            f"SideDrawer's developer login is not there ({answer.status}). Check the tenant id, the client id and the"
            " settings environment and login_url, or enter an access token instead.",
            status=answer.status,
        )
    return None


def _read_token(answer: ProviderResponse) -> tuple[str, float]:
    """The token and its life in seconds, from `{access_token, expires_in}`; also inside `data` and in camel case."""
    item = answer.json_object()
    inner = item.get("data")
    for fields in (item, inner if isinstance(inner, dict) else {}):
        token = fields.get("access_token") or fields.get("accessToken")
        if isinstance(token, str) and _VISIBLE_ASCII.fullmatch(token):
            return token, _seconds(fields.get("expires_in", fields.get("expiresIn")))
    raise InvalidResponse("SideDrawer's developer login answered without a usable access_token.", status=answer.status)


def _seconds(value: object) -> float:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else LIFE_IF_UNSAID
    except (ValueError, OverflowError):
        seconds = LIFE_IF_UNSAID
    return min(max(seconds, 0.0), LONGEST_LIFE) if seconds == seconds else LIFE_IF_UNSAID


def _hide(session: SideDrawerSession, token: str) -> None:
    if token not in session.http.secrets:
        session.http.hide(token)
