"""The rules for which actions a subscription allows in its current state, and the functions that perform them.

The dashboard, the REST API and the commands all use this module, so they allow and refuse the same actions for the same
reasons. `apply` only writes to the database; `subscriptions.reconciliation.action_runner` then calls the provider.
"""

from __future__ import annotations

from enum import StrEnum

from providers.conflict import Conflict, NotSupported
from providers.contract.capabilities import Proof, Renewal, SecretMadeBy
from subscriptions.lifecycle import desired_state, secret_rotation
from subscriptions.models import Managed, State, Subscription


class SubscriptionAction(StrEnum):
    """An action that a person or a program can perform on a subscription."""

    ENABLE = "enable"
    DISABLE = "disable"
    RENEW = "renew"
    TEST = "test"
    RECONCILE = "reconcile"
    ROTATE = "rotate-secret"
    DELETE = "delete"
    FORGET = "forget"
    EDIT = "edit"
    ENTER_SECRET = "enter-secret"  # noqa: S105 - the name of an action


def refusal(subscription: Subscription, action: SubscriptionAction) -> Conflict | None:
    """Return why the action is refused in the subscription's current state, or None if it is allowed.

    Deleting is always allowed: deleting a second time changes nothing. A subscription that is being deleted can only
    be reconciled, which tries the deletion at the provider again, or forgotten.
    """
    if action is SubscriptionAction.DELETE:
        return None
    if subscription.deleted_at:
        return Conflict("The subscription is deleted.")
    if action is SubscriptionAction.FORGET:
        return Conflict(desired_state.NOT_BEING_DELETED) if subscription.present else None
    if action is SubscriptionAction.RECONCILE:
        return None
    if not subscription.present:
        return Conflict("The subscription is being deleted.")
    return _unsupported(subscription, action) or _without_lease(subscription, action)


def no_effect(subscription: Subscription, action: SubscriptionAction) -> str:
    """Return why an allowed action would change nothing now, or an empty string if it would change something."""
    match action:
        case SubscriptionAction.ENABLE if subscription.enabled and subscription.state != State.SUSPENDED:
            return "The subscription is already enabled."
        case SubscriptionAction.DISABLE if not subscription.enabled:
            return "The subscription is already disabled."
        case SubscriptionAction.RECONCILE if subscription.managed == Managed.MANUAL:
            return "The subscription is managed manually: nothing is changed at the provider."
        case SubscriptionAction.DELETE if subscription.deleted_at:
            return "The subscription is already deleted."
        case SubscriptionAction.DELETE if not subscription.present:
            return "The subscription is already being deleted."
        case _:
            return ""


def is_offered(subscription: Subscription, action: SubscriptionAction) -> bool:
    """Return whether the action is allowed and would change something now."""
    return refusal(subscription, action) is None and not no_effect(subscription, action)


def check(subscription: Subscription, action: SubscriptionAction) -> None:
    """Raise Conflict, or its subclass NotSupported, if the action is refused in the subscription's current state."""
    refused = refusal(subscription, action)
    if refused is not None:
        raise refused


def apply(subscription: Subscription, action: SubscriptionAction, *, by: str, revoke: bool = False) -> None:
    """Check the action and write what it changes. No call is made.

    `by` is the actor for the activity log; `revoke` applies to ROTATE and refuses the old secret at once. RECONCILE and
    TEST write nothing. EDIT and ENTER_SECRET take values, so they have their own functions: `desired_state.change` and
    `enter_secret`. Raises Conflict.
    """
    check(subscription, action)
    match action:
        case SubscriptionAction.ENABLE | SubscriptionAction.DISABLE:
            desired_state.change(subscription, by=by, enabled=action is SubscriptionAction.ENABLE)
        case SubscriptionAction.RENEW:
            desired_state.request_renewal(subscription, by=by)
        case SubscriptionAction.ROTATE:
            secret_rotation.rotate(subscription, by=by, revoke=revoke)
        case SubscriptionAction.DELETE:
            if subscription.present:
                desired_state.request_deletion(subscription, by=by)
        case SubscriptionAction.FORGET:
            desired_state.forget(subscription, by=by)
        case SubscriptionAction.RECONCILE | SubscriptionAction.TEST:
            pass
        case SubscriptionAction.EDIT | SubscriptionAction.ENTER_SECRET:
            raise ValueError(f"{action} takes values; call its own function.")


def enter_secret(subscription: Subscription, value: str, *, by: str) -> None:
    """Store the secret that the provider showed to the person who registered the subscription manually.

    The previously entered secret stays accepted until a request is authenticated with the new one. Raises Conflict.
    """
    check(subscription, SubscriptionAction.ENTER_SECRET)
    secret_rotation.enter_secret(subscription, value, by=by)


def _unsupported(subscription: Subscription, action: SubscriptionAction) -> NotSupported | None:
    """Return why the provider, or the manual management, never allows the action; None if it may be allowed."""
    plugin = subscription.account.plugin
    made_by = plugin.capabilities.secret_made_by
    manual = subscription.managed == Managed.MANUAL
    match action:
        case SubscriptionAction.RENEW if plugin.capabilities.renewal is Renewal.NONE:
            return NotSupported(f"Subscriptions at {plugin.name} do not expire.")
        case SubscriptionAction.ENABLE | SubscriptionAction.DISABLE | SubscriptionAction.RENEW if manual:
            return NotSupported("The subscription is managed manually: do this at the provider.")
        case SubscriptionAction.ROTATE if plugin.capabilities.proof is Proof.URL or made_by is SecretMadeBy.NOBODY:
            return NotSupported(
                f"{plugin.name} authenticates requests by the callback URL alone: there is no secret to rotate."
            )
        case SubscriptionAction.ROTATE if manual and made_by is SecretMadeBy.PROVIDER:
            return NotSupported(f"{plugin.name} creates the secret: create a new one there and enter it here.")
        case SubscriptionAction.ENTER_SECRET if not (manual and made_by is SecretMadeBy.PROVIDER):
            return NotSupported(
                "A secret is only entered for a manually managed subscription whose secret the provider creates."
            )
        case _:
            return None


def _without_lease(subscription: Subscription, action: SubscriptionAction) -> Conflict | None:
    if action is SubscriptionAction.RENEW and not subscription.remote_id:
        return Conflict("The subscription is not registered at the provider, so it has no lease to renew.")
    return None
