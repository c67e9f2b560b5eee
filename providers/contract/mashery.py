"""Read the throttling responses of APIs behind a Mashery gateway."""

from __future__ import annotations

import math

from providers.contract.errors import Throttled
from providers.contract.responses import ProviderResponse, retry_after

# Waits when the gateway sends no Retry-After.
PER_SECOND_LIMIT_SECONDS = 2.0
UNKNOWN_LIMIT_SECONDS = 30.0
PER_DAY_LIMIT_SECONDS = 3600.0


def read_throttling(response: ProviderResponse, *, provider: str) -> Throttled | None:
    """Return the throttling error of a response; None if the response is something else.

    Older gateways send a 403 with Mashery's header (a 403 without it is about permissions), newer ones a 429
    (egnyte/integrations-cookbook, throttling.md). `provider` is the provider's name for the message.
    """
    code = response.headers.get("X-Mashery-Error-Code", "").upper()
    if response.status != 429 and not (response.status == 403 and "_OVER_" in code):
        return None
    if code.endswith("_OVER_RATE") or _day_quota_used_up(response):
        limit, wait = "calls per day", PER_DAY_LIMIT_SECONDS
    elif code.endswith("_OVER_QPS"):
        limit, wait = "calls per second", PER_SECOND_LIMIT_SECONDS
    else:
        limit, wait = "calls", UNKNOWN_LIMIT_SECONDS
    seconds = retry_after(response) or wait
    return Throttled(
        f"{provider}'s limit of {limit} is reached; the next call is possible in {math.ceil(seconds)} s.",
        status=response.status,
        retry_after=seconds,
    )


def _day_quota_used_up(response: ProviderResponse) -> bool:
    allotted = response.headers.get("X-Accesstoken-Quota-Allotted", "").strip()
    used = response.headers.get("X-Accesstoken-Quota-Current", "").strip()
    return _is_count(allotted) and _is_count(used) and int(used) >= int(allotted)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
