"""The Mashery gateway of a simulated API: rate limits, and the headers that report them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Literal, TypeVar

from pydantic import Field

from providers.sandbox.call_budget import CallBudget, OverBudget
from providers.sandbox.calls import Response
from providers.sandbox.tenant import Hook, LoginName, Options, Tenant

DAY_QUOTA = 1000  # reported in headers; enforced only if the option `day_quota` is set


class MasheryOptions(Options):
    """Options of a simulator behind this gateway."""

    throttle_style: Literal["mashery", "429"] = "mashery"
    calls_per_second: float | None = Field(default=2.0, gt=0)
    day_quota: int | None = Field(default=None, ge=0)
    token_accepted: bool = True  # false: the token has expired or was revoked


H = TypeVar("H", bound=Hook)
M = TypeVar("M", bound=MasheryOptions)


class MasheryGateway:
    """Counts the calls of each login. Not thread-safe; the simulator's lock guards it."""

    def __init__(self, logins: Iterable[LoginName]) -> None:
        self._budgets = {login: CallBudget() for login in logins}

    def serve(self, tenant: Tenant[H, M], respond: Callable[[], Response]) -> Response:
        """Return the API's response, or an error if a limit is exceeded. Each response reports the limits."""
        options = tenant.options
        budget = self._budgets[tenant.login]
        exceeded = budget.take(per_second=options.calls_per_second, per_day=options.day_quota)
        response = _throttled(options, budget, exceeded) if exceeded else respond()
        return Response(response.status, response.body, {**_quota_headers(options, budget), **response.headers})

    def age(self, login: LoginName, seconds: float) -> None:
        """Let the limits of a login recover as if that much time had passed."""
        self._budgets[login].age(seconds)


def _throttled(options: MasheryOptions, budget: CallBudget, exceeded: OverBudget) -> Response:
    left = budget.day_ends_at - time.time() if exceeded is OverBudget.PER_DAY else 1.0
    headers = {"Retry-After": str(max(1, math.ceil(left)))}
    message = "Developer Over Rate" if exceeded is OverBudget.PER_DAY else "Developer Over Qps"
    if options.throttle_style == "429":
        return Response(429, {"message": message}, headers)
    code = "ERR_403_DEVELOPER_OVER_RATE" if exceeded is OverBudget.PER_DAY else "ERR_403_DEVELOPER_OVER_QPS"
    return Response(403, f"<h1>{message}</h1>".encode(), {**headers, "X-Mashery-Error-Code": code})


def _quota_headers(options: MasheryOptions, budget: CallBudget) -> dict[str, str]:
    allotted, quota, used_today = options.calls_per_second, options.day_quota, budget.used_today
    if quota is None:  # not enforced, so the headers must never report it as used up
        quota, used_today = DAY_QUOTA, min(used_today, DAY_QUOTA - 1)
    headers = {
        "X-Accesstoken-Quota-Allotted": str(quota),
        "X-Accesstoken-Quota-Current": str(used_today),
        "x-quota-reset": formatdate(budget.day_ends_at, usegmt=True),
    }
    if allotted is not None:
        capacity = max(1.0, allotted)
        used = capacity - (capacity if budget.tokens is None else budget.tokens)
        headers["X-Accesstoken-Qps-Allotted"] = f"{allotted:g}"
        headers["X-Accesstoken-Qps-Current"] = str(math.ceil(max(0.0, used)))
    return headers
