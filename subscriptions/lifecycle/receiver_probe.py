"""Whether our own receiver answers at a callback URL, before a provider is told to call it again."""

from __future__ import annotations

import requests

TIMEOUT = 5.0


def trouble_at(callback_url: str) -> str | None:
    """Calls the callback URL with HEAD, as anyone could. None when it answers 200, else what is wrong in words."""
    try:
        response = requests.head(callback_url, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        return f"Our own receiver could not be reached at PUBLIC_URL ({type(error).__name__})."
    if response.status_code != 200:
        return f"Our own receiver answered {response.status_code} at its callback URL."
    return None
