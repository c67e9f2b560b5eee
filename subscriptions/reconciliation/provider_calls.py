"""The changing calls of the steps, and what the provider has after them. Nothing here writes to the database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.utils import timezone

from providers.contract.base import Registration, RemoteSubscription
from providers.contract.errors import InvalidInput, LimitReached, ProviderError, Refused
from providers.contract.http import Exchange
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from subscriptions.lifecycle.secrets import build_registration
from subscriptions.models import Subscription
from subscriptions.planning.config_diff import config_to_preserve
from subscriptions.planning.steps import Step, StepAction
from subscriptions.reconciliation.planning_input import canonical_config, desired_state_of, observed_state_of

CONFLICT = 409

Remotes = tuple[RemoteSubscription, ...]


def call_provider(
    row: Subscription, step: Step, remotes: Remotes, session: ProviderSession[Any, Any], *, as_agreed: bool = False
) -> Remotes:
    """Make the call of a step and return what the provider has then. Raises ProviderError.

    `as_agreed`: send the config that the provider last accepted instead of the desired one, which it refuses.
    """
    plugin, remote_id = row.account.plugin, step.remote_id or ""
    old = remote_by_id(remotes, step.remote_id)

    def registration(*, enabled: bool) -> Registration[Any]:
        return _registration(row, old, enabled=enabled, as_agreed=as_agreed)

    match step.action:
        case StepAction.REGISTER | StepAction.REPLACE:
            return (*remotes, _with_sent_fields(row, plugin.register(session, registration(enabled=True))))
        case StepAction.UPDATE:
            answer = plugin.update(session, remote_id, registration(enabled=row.enabled))
            changed = _with_sent_fields(row, answer)
        case StepAction.RENEW:
            answer = plugin.renew(session, remote_id, registration(enabled=row.enabled))
            changed = _with_sent_fields(row, answer)
        case StepAction.ENABLE | StepAction.DISABLE:
            changed = plugin.set_enabled(session, remote_id, step.action is StepAction.ENABLE)
        case _:
            plugin.delete(session, remote_id)
            return without_remote(remotes, remote_id)
    return tuple(_merge(remote, changed) if remote.remote_id == remote_id else remote for remote in remotes)


def remote_by_id(remotes: Sequence[RemoteSubscription], remote_id: str | None) -> RemoteSubscription | None:
    """Return the registration with this remote ID, or None."""
    return next((remote for remote in remotes if remote.remote_id == remote_id), None)


def without_remote(remotes: Remotes, remote_id: str) -> Remotes:
    """Return the registrations without the one with this remote ID."""
    return tuple(remote for remote in remotes if remote.remote_id != remote_id)


def changed_nothing(error: ProviderError, exchanges: Sequence[Exchange]) -> bool:
    """Return whether failed calls have certainly changed nothing at the provider.

    Each call must have been refused, or only have read, or be the last one, which the error is about, and not have
    reached the provider. A conflict is no such refusal: the provider may have what an earlier try left.
    """
    conflict = error.status == CONFLICT and not isinstance(error, LimitReached)
    return not (error.outcome_unknown or conflict) and all(
        item.method == "GET"
        or item.url != exchanges[-1].url  # a login
        or (item is exchanges[-1] if item.status is None else item.status >= 400)
        for item in exchanges
    )


def _registration(
    row: Subscription, old: RemoteSubscription | None, *, enabled: bool, as_agreed: bool
) -> Registration[Any]:
    """Build the registration to send: the desired config, keeping report-only drifted fields at their remote values."""
    preserved: dict[str, object] = dict(row.agreed_config or {}) if as_agreed else {}
    preserved = preserved or config_to_preserve(desired_state_of(row), observed_state_of(row, (), timezone.now()), old)
    try:
        if preserved:
            # Remote values that no longer fit our schema are reverted, which is better than not renewing.
            with suppress(InvalidInput):
                config = validate(row.account.plugin.config_model, {**row.config, **preserved})
                return replace(build_registration(row, enabled=enabled), config=config)
        return build_registration(row, enabled=enabled)
    except InvalidInput as error:
        raise Refused(f"The config no longer fits the provider's schema: {error}", field="config") from None


def _with_sent_fields(row: Subscription, answer: RemoteSubscription) -> RemoteSubscription:
    """Return an answer that has a config, completed with the fields that we sent and the provider does not show."""
    if answer.config is None:
        return answer
    return replace(answer, config={**canonical_config(row), **answer.config})


def _merge(old: RemoteSubscription, new: RemoteSubscription) -> RemoteSubscription:
    """Return the newer answer, completed from the older one.

    An answer with a config is complete: if it has no expiry, the registration does not expire (any more).
    """
    return replace(
        new,
        expires_at=new.expires_at if new.config is not None else new.expires_at or old.expires_at,
        url=new.url or old.url,
        config={**(old.config or {}), **new.config} if new.config is not None else old.config,
        secret_matches=new.secret_matches if new.config is not None else old.secret_matches,
    )
