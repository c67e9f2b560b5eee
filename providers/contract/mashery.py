"""How an API behind a Mashery gateway says that there were too many calls."""

from __future__ import annotations

import math

from providers.contract.errors import Throttled
from providers.contract.responses import ProviderResponse, retry_after

# Seconds to stay away when the gateway does not say for how long.
WAIT_PER_SECOND_LIMIT = 2.0
WAIT_UNKNOWN_LIMIT = 30.0
WAIT_DAY_LIMIT = 3600.0


def read_throttling(answer: ProviderResponse, *, provider: str) -> Throttled | None:
    """The refusal for too many calls that an answer means; None when it means something else.

    Older answers are a 403 with Mashery's header (a 403 without it is about permissions), newer ones a 429
    (egnyte/integrations-cookbook, throttling.md). `provider` is the name that the message gives it.
    """
    code = answer.headers.get("X-Mashery-Error-Code", "").upper()
    if answer.status != 429 and not (answer.status == 403 and "_OVER_" in code):
        return None
    if code.endswith("_OVER_RATE") or _day_quota_used_up(answer):
        which, wait = "calls per day", WAIT_DAY_LIMIT
    elif code.endswith("_OVER_QPS"):
        which, wait = "calls per second", WAIT_PER_SECOND_LIMIT
    else:
        which, wait = "calls", WAIT_UNKNOWN_LIMIT
    seconds = retry_after(answer) or wait
    return Throttled(
        f"{provider}'s limit of {which} is reached; the next call may be made in {math.ceil(seconds)} s.",
        status=answer.status,
        retry_after=seconds,
    )


def _day_quota_used_up(answer: ProviderResponse) -> bool:
    allotted = answer.headers.get("X-Accesstoken-Quota-Allotted", "").strip()
    used = answer.headers.get("X-Accesstoken-Quota-Current", "").strip()
    return _is_count(allotted) and _is_count(used) and int(used) >= int(allotted)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
