"""Who is asking: `Authorization: Bearer <token>`, and nothing else. A browser's session opens no door here."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from config.models import ApiToken

SCHEME = "bearer"
LONGEST = 200


class BearerTokens(BaseAuthentication):
    """Lets in who shows a token that exists and was not revoked."""

    def authenticate(self, request: Request) -> tuple[ApiToken, ApiToken] | None:
        """The token, as user and as credentials. None when the request shows none."""
        scheme, _, rest = get_authorization_header(request).strip().partition(b" ")
        if scheme.lower() != SCHEME.encode():
            return None
        text = rest.strip().decode("ascii", "replace")
        token = ApiToken.find(text) if 0 < len(text) <= LONGEST else None
        if token is None:
            raise AuthenticationFailed("There is no such token, or it was revoked.", code="bad_token")
        token.note_use()
        return token, token

    def authenticate_header(self, request: Request) -> str:
        """Makes missing and bad tokens a 401."""
        return 'Bearer realm="Hookkeeper"'
