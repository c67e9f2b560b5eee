"""Reprocess one stored request: verify it again if it was rejected, then normalize it again."""

from __future__ import annotations

import logging

from django.db import Error as AnyDatabaseError
from django.db import transaction

from events.models import Outcome, VerificationState, WebhookRequest, WebhookRequestQuerySet
from events.processing import normalize, subscription_activity
from events.processing.verify import verify
from events.storage.columns import column_text
from events.storage.request_row import MAX_REASON, InboundCall, initial_outcome, initial_reason, mask_headers
from providers.contract.errors import InvalidInput
from providers.contract.parsing import Verification, VerificationResult
from providers.contract.registry import UnknownProvider
from providers.db.encryption import Undecryptable
from subscriptions.lifecycle import secret_rotation
from subscriptions.lifecycle.ip_allowlist import load_networks, rejection_reason

logger = logging.getLogger(__name__)

HISTORY_KIND = "request"  # the subject kind of requests in the audit trail


def reprocess_request(request: WebhookRequest, *, also_former: bool = False) -> WebhookRequest:
    """Reprocess a stored request, for example after a fix or with a new secret, and return its new state.

    A rejected request is verified again first. It stays rejected if none of the currently accepted secrets fits, or if
    its address is not allowed. With `also_former`, secrets that are no longer accepted count as well: for a person who
    has decided that the request is late and not forged. Existing events stay as they are, missing ones are added, and
    no duplicate is counted twice. Raises WebhookRequest.DoesNotExist if the request has been deleted meanwhile.
    """
    request = _without_secrets().get(pk=request.pk)
    if request.tries:
        WebhookRequest.objects.filter(pk=request.pk).update(tries=0, tried_at=None)
    if request.outcome == Outcome.REJECTED:
        can_normalize = _release(request, also_former=also_former)
    else:
        can_normalize = request.outcome != Outcome.TRUNCATED
    if can_normalize:
        normalize.normalize_again(request.pk)
        # If it fails again later, that is news to the person who dismissed it.
        WebhookRequest.objects.filter(pk=request.pk, dismissed_at__isnull=False).exclude(
            outcome__in=(Outcome.REJECTED, Outcome.QUARANTINED)
        ).update(dismissed_at=None)
    request.refresh_from_db()
    return request


def _without_secrets() -> WebhookRequestQuerySet:
    """Return requests with their accounts, without secrets and headers.

    A lost encryption key and unreadable headers then fail only the steps that need them.
    """
    rows = WebhookRequest.objects.select_related("subscription__account")
    return rows.defer("headers", "sealed_headers", "subscription__secrets", "subscription__account__credentials")


def _release(request: WebhookRequest, *, also_former: bool) -> bool:
    """Verify a rejected request again. Return whether it is accepted now and can be normalized."""
    call = _verify_again(request, also_former=also_former)
    if call is None:
        return False
    outcome = initial_outcome(call)
    headers, sealed = mask_headers(call)
    with transaction.atomic(durable=True):
        changed = WebhookRequest.objects.filter(pk=request.pk, outcome=Outcome.REJECTED).update(
            outcome=outcome,
            reason=initial_reason(call, outcome),
            verification=call.verification.result.value,
            verification_detail=column_text(call.verification.detail, MAX_REASON),
            headers=headers,
            sealed_headers=sealed,
        )
        if changed and outcome == Outcome.TRUNCATED and request.subscription.accepted_at is None:
            subscription_activity.record_accepted(request.subscription_id, request.received_at)
    request.refresh_from_db(fields=["outcome", "headers", "sealed_headers"])
    return outcome == Outcome.RECEIVED


def _verify_again(request: WebhookRequest, *, also_former: bool) -> InboundCall | None:
    """Return the request as if it arrived now, or None if it is rejected again; the reason is then updated."""
    subscription = request.subscription
    account = subscription.account
    try:
        inbound = request.inbound(unsealed=True)
        former = secret_rotation.former_secrets(subscription) if also_former else []
        accepted = [*subscription.secrets, *former]
        call = InboundCall(
            subscription_id=subscription.pk,
            account_id=account.pk,
            sensitive_headers=account.plugin.sensitive_headers(account.typed_settings),
            inbound=inbound,
            verification=verify(account.plugin, inbound, accepted, account.typed_settings),
            remote_addr=request.remote_addr,
            size=request.size,
            truncated=request.size > len(inbound.body),
            secrets=accepted,
            network_refusal=rejection_reason(request.remote_addr, load_networks(subscription.allowed_networks)),
        )
    except (Undecryptable, InvalidInput, UnknownProvider) as error:
        _update_rejected(request, reason=f"The request could not be verified again: {error}")
        return None
    except AnyDatabaseError:
        raise
    except Exception as error:
        # Unreadable stored data or a bug in the plug-in must not stop the other requests of a bulk run.
        logger.exception("Request %s could not be verified again", request.uid)
        _update_rejected(request, reason=f"The request could not be verified again: {type(error).__name__}: {error}")
        return None
    if call.accepted:
        return call
    _update_rejected(request, reason=call.refusal, **_verification_columns(request, call.verification))
    return None


def _verification_columns(request: WebhookRequest, verification: Verification) -> dict[str, str]:
    """Return the result of verifying a rejected request again.

    A request that was verified stays so when its secret has been replaced meanwhile: what the provider sent is kept.
    """
    if request.verification == VerificationState.VERIFIED and verification.result is VerificationResult.FAILED:
        return {}
    return {
        "verification": verification.result.value,
        "verification_detail": column_text(verification.detail, MAX_REASON),
    }


def _update_rejected(request: WebhookRequest, *, reason: str, **columns: str) -> None:
    rows = WebhookRequest.objects.filter(pk=request.pk, outcome=Outcome.REJECTED)
    rows.update(reason=column_text(reason, MAX_REASON), **columns)
