"""The query for the rows that the checks read, and functions that several checks use."""

from __future__ import annotations

from django.db.models import QuerySet

from subscriptions.models import Subscription

MIN_FAILURES = 3  # consecutive failures before a possibly temporary error becomes a problem


def undeleted_subscriptions() -> QuerySet[Subscription]:
    """Return the subscriptions with the columns that checks read. None of these columns is encrypted."""
    return (
        Subscription.objects.filter(deleted_at=None)
        .select_related("account")
        .only(
            *("uid", "name", "account__uid", "account__name", "state", "state_reason", "last_error", "failures"),
            *("enabled", "auto_renew", "managed", "remote_id", "expires_at", "granted", "renew_at"),
            *("missing_since", "drift", "drift_policy", "suspended_count", "gave_up_at"),
            *("renewal_failing_since", "renewal_tries"),
            *("account__calls_paused_for", "account__calls_paused_reason", "account__calls_paused_since"),
        )
    )


def error_code(row: Subscription) -> str:
    """Return the code of the subscription's last error; empty if there is none."""
    return str((row.last_error or {}).get("code", ""))


def error_message(row: Subscription) -> str:
    """Return the message of the subscription's last error; empty if there is none."""
    return str((row.last_error or {}).get("message", ""))
