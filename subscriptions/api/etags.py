"""ETags of the desired state.

The observed state is not part of them, because it changes without a request. They are never used to answer 304.
"""

from __future__ import annotations

import json

from django.utils.crypto import salted_hmac
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from providers.models import ProviderAccount
from providers.rest.errors import PreconditionFailed
from subscriptions.models import Subscription

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The ETag that was read. The request is refused if the desired state has changed since.",
)


def account_etag(account: ProviderAccount) -> str:
    """Return the ETag of name, retention, settings and credentials. It is keyed, so that it reveals no credentials."""
    return _etag("account", [account.name, account.retention_days, account.settings, account.credentials])


def subscription_etag(subscription: Subscription) -> str:
    """Return the ETag of everything that can be changed in a subscription."""
    row = subscription
    values = [row.name, row.config, row.enabled, row.auto_renew, row.drift_policy, row.present]
    return _etag("subscription", [*values, row.quiet_after, row.quiet_hours, row.allowed_networks])


def check_if_match(request: Request, etag: str) -> None:
    """Raise PreconditionFailed if the request's If-Match names another version."""
    header = request.headers.get("If-Match")
    if header is None:
        return
    etags = parse_etags(header)
    if etags != ["*"] and etag not in etags:
        raise PreconditionFailed


def _etag(kind: str, values: list[object]) -> str:
    text = json.dumps(values, sort_keys=True)
    return f'"{salted_hmac(f"etag of {kind}", text, algorithm="sha256").hexdigest()[:32]}"'
