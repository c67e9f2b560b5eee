"""Settle rejected and quarantined requests: what a person decides about them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from events.models import Outcome, VerificationState, WebhookRequest, WebhookRequestQuerySet
from events.processing import normalize
from events.processing.bulk_reprocess import ReprocessResult, reprocess_many
from events.processing.reprocess import HISTORY_KIND
from events.storage.columns import column_text
from events.storage.request_row import MAX_REASON
from providers.audit import log
from subscriptions.lifecycle import desired_state
from subscriptions.lifecycle.ip_allowlist import load_networks, rejection_reason
from subscriptions.models import Subscription


def blocked(subscription: Subscription) -> WebhookRequestQuerySet:
    """Return the requests that were rejected for their address only and are not dismissed."""
    rows = WebhookRequest.objects.unsettled(Outcome.REJECTED).filter(subscription=subscription)
    return rows.exclude(verification=VerificationState.FAILED)


def allow_and_release(subscription: Subscription, addresses: Sequence[str], *, by: str) -> ReprocessResult:
    """Add the addresses to the allowed networks, and release the requests that were blocked for them.

    A limited number is released per call; call it again while the result's `last` is not None. Raises InvalidNetwork.
    """
    networks = subscription.allowed_networks
    missing = [address for address in addresses if rejection_reason(address, load_networks(networks))]
    desired_state.set_allowed_networks(subscription, by=by, allowed_networks=[*networks, *missing])
    rows = blocked(subscription).filter(remote_addr__in=addresses)
    return reprocess_many(rows, by=by, selection=f"{subscription}, from {', '.join(addresses)}")


def accept(request: WebhookRequest, *, by: str) -> bool:
    """Accept a rejected request on the word of a person who has read it. Return whether it was rejected.

    Its verification result stays as it is. A truncated body cannot be normalized.
    """
    truncated = request.size > len(request.body)
    with transaction.atomic(durable=True):
        changed = WebhookRequest.objects.filter(pk=request.pk, outcome=Outcome.REJECTED).update(
            outcome=Outcome.TRUNCATED if truncated else Outcome.RECEIVED,
            reason="",
            verification_detail=column_text(
                f"Accepted by {by.removeprefix('staff:')}. {request.verification_detail}", MAX_REASON
            ),
            dismissed_at=None,
        )
        if changed:
            _log(request, "accepted", by)
    if changed and not truncated:
        normalize.normalize_again(request.pk)
    return bool(changed)


@transaction.atomic
def dismiss(request: WebhookRequest, *, by: str) -> None:
    """Dismiss a rejected or quarantined request: it stays stored, but is no longer part of a problem."""
    unsettled = (Outcome.REJECTED, Outcome.QUARANTINED)
    rows = WebhookRequest.objects.filter(pk=request.pk, outcome__in=unsettled, dismissed_at=None)
    if rows.update(dismissed_at=timezone.now()):
        _log(request, "dismissed", by)


def _log(request: WebhookRequest, action: str, by: str) -> None:
    log.record(
        by,
        action,
        HISTORY_KIND,
        subject_id=request.uid,
        name=f"{request.method} {request.subscription}",
        account_id=request.account_id,
    )
