"""Authentication of the REST API: bearer tokens only. Sessions of the dashboard are not accepted."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from config.models import ApiToken

SCHEME = "bearer"
MAX_TOKEN_LENGTH = 200


class BearerTokenAuthentication(BaseAuthentication):
    """Authenticates requests by `Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[ApiToken, ApiToken] | None:
        """Return the token as `request.user` and `request.auth`, or None if the request has no bearer token.

        Raise AuthenticationFailed for a token that does not exist or was revoked.
        """
        scheme, _, rest = get_authorization_header(request).strip().partition(b" ")
        if scheme.lower() != SCHEME.encode():
            return None
        text = rest.strip().decode("ascii", "replace")
        token = ApiToken.find(text) if 0 < len(text) <= MAX_TOKEN_LENGTH else None
        if token is None:
            raise AuthenticationFailed("This token does not exist or was revoked.", code="bad_token")
        token.note_use()
        return token, token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that makes a missing or invalid token a 401."""
        return 'Bearer realm="Hookkeeper"'
