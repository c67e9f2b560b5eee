"""Entries in the activity log about accounts and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping

from providers.audit import log
from providers.models import ProviderAccount
from subscriptions.models import Subscription

ACCOUNT, SUBSCRIPTION = ProviderAccount.subject, Subscription.subject


def log_subscription(
    subscription: Subscription,
    action: str,
    by: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Log an action on a subscription. Call this in the transaction of the change itself."""
    log.record(
        by,
        action,
        SUBSCRIPTION,
        subject_id=subscription.uid,
        name=str(subscription),
        account_id=subscription.account_id,
        before=before,
        after=after,
    )


def log_account(
    account: ProviderAccount,
    action: str,
    by: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Log an action on an account, with credentials masked. Call this in the transaction of the change itself."""
    secret = frozenset(name for name in (*(before or {}), *(after or {})) if name.startswith("credentials."))
    log.record(
        by,
        action,
        ACCOUNT,
        subject_id=account.uid,
        name=account.name,
        account_id=account.pk,
        before=before,
        after=after,
        secret=secret,
    )
