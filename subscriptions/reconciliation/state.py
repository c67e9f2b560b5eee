"""How a subscription stands, derived from the facts by one function."""

from __future__ import annotations

from datetime import datetime

from providers.contract.capabilities import SecretMadeBy
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.formatting import sentences
from providers.times import readable_time
from subscriptions.lifecycle.secret_rotation import words
from subscriptions.models import Managed, State, Subscription
from subscriptions.planning.plan import DriftPolicy


def derive(subscription: Subscription, now: datetime) -> tuple[State, str]:
    """The state, the first that holds, and the reason in words that a person understands."""
    row = subscription
    if row.deleted_at:
        return State.DELETED, row.deletion_summary
    if not row.present:
        return State.DELETING, _with_error("It is being deleted at the provider.", row)
    if row.managed == Managed.MANUAL:
        return _manual(row)
    return _troubled(row, now) or _quiet(row)


def _manual(row: Subscription) -> tuple[State, str]:
    if row.accepted_at:
        return State.ACTIVE, _with_rotation(
            _with_warnings("Registered by hand at the provider; requests arrive.", row), row
        )
    if row.remote_id and not row.accepted_at:
        text = f"The provider has it as {row.remote_id}, and nothing is changed there. Enter our callback URL there."
        return State.MANUAL, _with_rotation(_with_warnings(text, row), row)
    text = "Register it at the provider by hand; it becomes active with the first accepted request."
    return State.MANUAL, _with_rotation(_with_warnings(text, row), row)


def _troubled(row: Subscription, now: datetime) -> tuple[State, str] | None:
    """Where the provider's side is not as wanted."""
    if row.enabled and row.remote_id and row.expires_at and row.expires_at <= now:
        return State.EXPIRED, _with_error(f"Its lease ended at {readable_time(row.expires_at)}.", row)
    if row.enabled and row.missing_since:
        return State.MISSING, _with_error(
            f"The provider no longer has it (since {readable_time(row.missing_since)}).", row
        )
    if row.enabled and row.remote_id and row.remote_enabled is False and not row.we_disabled:
        return State.SUSPENDED, _with_error("The provider switched it off.", row)
    if row.remote_id and row.drift:
        fields = ", ".join(change["field"].replace("_", " ") for change in row.drift)
        return State.DRIFTED, _with_error(f"At the provider it differs in {fields}.{_policy(row)}", row)
    return (State.FAILING, _with_error("", row)) if row.last_error else None


def _policy(row: Subscription) -> str:
    """What its drift policy means now."""
    if row.last_error or row.waiting or row.drift_policy != DriftPolicy.REPORT:
        return ""
    return " Its drift policy says that this is only reported."


def _quiet(row: Subscription) -> tuple[State, str]:
    if not row.enabled:
        return State.DISABLED, _with_waiting("It is switched off here.", row)
    if not (row.remote_id and row.remote_enabled):
        return State.PENDING, _with_waiting("It is about to be registered at the provider.", row)
    if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.PROVIDER and row.secret_for != row.remote_id:
        return State.PENDING, _with_waiting("Its secret is not known yet.", row)
    return State.ACTIVE, _with_waiting(_with_warnings(_lease(row), row), row)


def _lease(row: Subscription) -> str:
    if row.expires_at is None:
        return "Registered and switched on. It does not expire."
    if row.renew_at is None or not row.auto_renew:
        return f"Registered and switched on. Its lease ends at {readable_time(row.expires_at)}. Auto-renew is off."
    renewal, end = readable_time(row.renew_at), readable_time(row.expires_at)
    return f"Registered and switched on. Its lease ends at {end}; it is renewed before, from {renewal} on."


def _with_warnings(text: str, row: Subscription) -> str:
    """What the provider's plug-in has to say about the config, after the text."""
    plugin = row.account.plugin
    try:
        config = validate(plugin.config_model, row.config)
    except InvalidInput:
        return text  # said at the next call, where it matters
    return " ".join((text, *plugin.warnings(config)))


def _with_error(text: str, row: Subscription) -> str:
    """With what went wrong, and when it is tried again."""
    parts = [text, (row.last_error or {}).get("message", "")]
    if row.last_error and row.due_at and not row.paused_since:  # a pause of the account's calls tells its end itself
        parts.append(f"It is tried again at {readable_time(row.due_at)}.")
    if row.renewal_failing_since:
        parts.append(f"Its renewal has been failing since {readable_time(row.renewal_failing_since)}.")
    return _with_waiting(sentences(*parts), row)


def _with_waiting(text: str, row: Subscription) -> str:
    return _with_rotation(f"{text} {row.waiting}".strip(), row)


def _with_rotation(text: str, row: Subscription) -> str:
    return f"{text} {words(row)}".strip() if row.present else text
