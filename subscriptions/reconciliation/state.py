"""Derive the state of a subscription from its facts."""

from __future__ import annotations

from datetime import datetime

from providers.contract.capabilities import SecretMadeBy
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.formatting import sentences
from providers.times import readable_time
from subscriptions.lifecycle.secret_rotation import progress_text
from subscriptions.models import Managed, State, Subscription
from subscriptions.planning.renewal_times import renewal_time
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.steps import Wait


def derive(row: Subscription, now: datetime) -> tuple[State, str]:
    """Return the state, which is the first that applies, and the reason as sentences for people."""
    if row.deleted_at:
        return State.DELETED, row.deletion_summary
    if not row.present:
        return State.DELETING, _with_error("It is being deleted at the provider.", row)
    if row.managed == Managed.MANUAL:
        return _manual_state(row)
    return _problem_state(row, now) or _normal_state(row)


def _manual_state(row: Subscription) -> tuple[State, str]:
    if row.accepted_at:
        state, text = State.ACTIVE, "Registered manually at the provider; requests arrive."
    elif row.remote_id:
        state = State.MANUAL
        text = (
            f"The provider has it as {row.remote_id}, and Hookkeeper changes nothing there. Enter our callback URL at "
            "the provider."
        )
    else:
        state = State.MANUAL
        text = "Register it manually at the provider. It becomes active with the first accepted request."
    return state, _with_rotation(_with_warnings(text, row), row)


def _problem_state(row: Subscription, now: datetime) -> tuple[State, str] | None:
    """Return the state where the provider's side differs from the desired state; None where it does not."""
    if row.enabled and row.remote_id and row.expires_at and row.expires_at <= now:
        return State.EXPIRED, _with_error(f"Its lease ended at {readable_time(row.expires_at)}.", row)
    if row.enabled and row.missing_since and row.waiting_for != Wait.ABSENT:
        since = readable_time(row.missing_since)
        return State.MISSING, _with_error(f"The provider no longer has it (since {since}).", row)
    if row.enabled and row.remote_id and row.remote_enabled is False and not row.we_disabled:
        return State.SUSPENDED, _with_error("The provider suspended it.", row)
    if row.remote_id and row.drift:
        fields = ", ".join(change["field"].replace("_", " ") for change in row.drift)
        return State.DRIFTED, _with_error(f"It differs at the provider in {fields}.{_report_note(row)}", row)
    return (State.FAILING, _with_error("", row)) if row.last_error else None


def _report_note(row: Subscription) -> str:
    if row.last_error or row.waiting or row.drift_policy != DriftPolicy.REPORT:
        return ""
    return " According to its drift policy, this is only reported."


def _normal_state(row: Subscription) -> tuple[State, str]:
    if not row.enabled:
        return State.DISABLED, _with_waiting("It is disabled here.", row)
    if not (row.remote_id and row.remote_enabled):
        return State.PENDING, _with_waiting("It is about to be registered at the provider.", row)
    if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.PROVIDER and row.secret_for != row.remote_id:
        return State.PENDING, _with_waiting("Its secret is not known yet.", row)
    return State.ACTIVE, _with_waiting(_with_warnings(_lease_text(row), row), row)


def _lease_text(row: Subscription) -> str:
    if row.expires_at is None:
        return "Registered and enabled. It does not expire."
    renew_at, end = renewal_time(row.granted, row.expires_at, row.spread), readable_time(row.expires_at)
    if renew_at is None or not row.auto_renew:
        return f"Registered and enabled. Its lease ends at {end}. Auto-renew is off."
    return (
        f"Registered and enabled. Its lease ends at {end}. It is renewed before that, from {readable_time(renew_at)}."
    )


def _with_warnings(text: str, row: Subscription) -> str:
    """Append the plug-in's warnings about the config."""
    plugin = row.account.plugin
    try:
        config = validate(plugin.config_model, row.config)
    except InvalidInput:
        return text  # reported by the next call that sends it
    return " ".join((text, *plugin.warnings(config)))


def _with_error(text: str, row: Subscription) -> str:
    """Append the last error, and when it is tried again."""
    parts = [text, (row.last_error or {}).get("message", "")]
    if row.last_error and row.due_at and not row.paused_since:  # the error of an open circuit includes its end
        parts.append(f"It is tried again at {readable_time(row.due_at)}.")
    if row.renewal_failing_since:
        parts.append(f"Its renewal has been failing since {readable_time(row.renewal_failing_since)}.")
    return _with_waiting(sentences(*parts), row)


def _with_waiting(text: str, row: Subscription) -> str:
    return _with_rotation(f"{text} {row.waiting}".strip(), row)


def _with_rotation(text: str, row: Subscription) -> str:
    return f"{text} {progress_text(row)}".strip() if row.present else text
