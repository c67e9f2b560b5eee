"""A check that our own receiver answers at a callback URL, before a provider is asked to call it again."""

from __future__ import annotations

import requests

TIMEOUT_SECONDS = 5.0


def find_receiver_error(callback_url: str) -> str | None:
    """Call the callback URL with HEAD and return what is wrong, or None if it answers 200."""
    try:
        response = requests.head(callback_url, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return f"Our own receiver could not be reached at PUBLIC_URL ({type(error).__name__})."
    if response.status_code != 200:
        return f"Our own receiver answered {response.status_code} at its callback URL."
    return None
