"""Callback URLs: the secret token in them and the address that they are built from."""

from __future__ import annotations

import secrets

from django.conf import settings

TOKEN_BYTES = 32


def new_token() -> str:
    """Return an unguessable token for a callback URL: 256 random bits, URL-safe."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def callback_url_for(token: str) -> str:
    """Return the callback URL of a token under the current PUBLIC_URL."""
    return f"{settings.PUBLIC_URL}/hooks/{token}"
