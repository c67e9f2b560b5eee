"""Versions of what is wanted. What is observed changes by itself, so it is no part of them, and none is ever a reason
to answer 304."""

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
    description="The ETag that was read: changed only if it still is that version of what is wanted.",
)


def account_etag(account: ProviderAccount) -> str:
    """Changes with name, retention, settings and credentials. Keyed, so that it tells nothing about the credentials."""
    return _etag("account", [account.name, account.retention_days, account.settings, account.credentials])


def subscription_etag(subscription: Subscription) -> str:
    """Changes with everything that can be wanted differently."""
    row = subscription
    values = [row.name, row.config, row.enabled, row.auto_renew, row.drift_policy, row.present]
    return _etag("subscription", [*values, row.quiet_after, row.quiet_hours, row.allowed_networks])


def check_if_match(request: Request, etag: str) -> None:
    """Raises PreconditionFailed when the request insists on another version."""
    header = request.headers.get("If-Match")
    if header is None:
        return
    asked = parse_etags(header)
    if asked != ["*"] and etag not in asked:
        raise PreconditionFailed


def _etag(kind: str, values: list[object]) -> str:
    text = json.dumps(values, sort_keys=True)
    return f'"{salted_hmac(f"etag of {kind}", text, algorithm="sha256").hexdigest()[:32]}"'
