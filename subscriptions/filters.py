"""The filters of the lists of accounts, subscriptions, problems and operations, for the REST API and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from providers.contract import registry
from providers.filters import (
    Choices,
    FilterSet,
    any_of,
    choice_filter,
    flag_filter,
    one_of,
    owner_filter,
    search_filter,
    text_filter,
    time_filter,
)
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Managed, OperationStatus, ProblemKind, ProblemState, Severity, State, Subscription
from subscriptions.planning.steps import StepAction

ANY = "any"
MAX_CHOICES = 500  # rows offered in a select

Rows = QuerySet[Any, Any]


def provider_choices() -> Choices:
    """Return every provider."""
    return [(slug, plugin.name) for slug, plugin in registry.all_providers().items()]


def account_choices() -> Choices:
    """Return the accounts by name."""
    rows = ProviderAccount.objects.order_by("name").values_list("pk", "name")
    return [(str(pk), name) for pk, name in rows[:MAX_CHOICES]]


def subscription_choices() -> Choices:
    """Return the newest subscriptions."""
    rows = Subscription.objects.order_by("-pk").only("name", "uid")[:MAX_CHOICES]
    return [(str(row.pk), str(row)) for row in rows]


def _in_problem_state(rows: Rows, values: Sequence[Any]) -> Rows:
    return rows if ANY in values else rows.filter(any_of("state", values))


_PROBLEM_STATES: Choices = [*ProblemState.choices, (ANY, "Any, including resolved")]

ACCOUNT_FILTERS = FilterSet(
    text_filter(
        "provider",
        "provider",
        help_text="A provider's slug.",
        label="Provider",
        choices=provider_choices,
        read_in_dashboard=one_of(provider_choices),
    ),
    choice_filter("status", "status", AccountStatus.choices, label="Status"),
    text_filter("name", "name", help_text="The exact name."),
    search_filter(("name",), help_text="Part of the name."),
)

SUBSCRIPTION_FILTERS = FilterSet(
    choice_filter(
        "state",
        "state",
        State.choices,
        help_text="Deleted subscriptions are listed only with `state=deleted`.",
        default=lambda rows: rows.exclude(state=State.DELETED),
        label="State",
    ),
    text_filter(
        "provider",
        "account__provider",
        help_text="A provider's slug.",
        label="Provider",
        choices=provider_choices,
        read_in_dashboard=one_of(provider_choices),
    ),
    owner_filter(
        "account",
        "account",
        ProviderAccount.objects.all,
        help_text="An account's ID.",
        label="Account",
        choices=account_choices,
    ),
    flag_filter("enabled", "enabled"),
    choice_filter("managed", "managed", Managed.choices),
    text_filter("name", "name", help_text="The exact name."),
    time_filter(
        "expires_before",
        lambda rows, moment: rows.filter(expires_at__lt=moment),
        help_text="The lease ends before this time.",
    ),
    time_filter(
        "renews_before",
        lambda rows, moment: rows.filter(renew_at__lt=moment),
        help_text="The renewal is due before this time.",
    ),
    search_filter(
        ("name", "remote_id", "callback_url"), help_text="Part of the name, the remote ID or the callback URL."
    ),
)

PROBLEM_FILTERS = FilterSet(
    choice_filter(
        "state",
        "state",
        ProblemState.choices,
        label="State",
        choices=lambda: _PROBLEM_STATES,
        unset="Unresolved",
        read_in_dashboard=one_of(_PROBLEM_STATES),
        narrow_in_dashboard=_in_problem_state,
    ),
    choice_filter("severity", "severity", Severity.choices, label="Severity"),
    choice_filter("kind", "kind", ProblemKind.choices, label="Kind"),
    owner_filter(
        "account",
        "account",
        ProviderAccount.with_deleted.all,
        help_text="An account's ID: problems of the account and of its subscriptions.",
        label="Account",
        choices=account_choices,
    ),
    owner_filter(
        "subscription",
        "subscription",
        Subscription.objects.all,
        help_text="A subscription's ID.",
        label="Subscription",
    ),
)

_ACTIONS: Choices = [(action.value, action.value.capitalize()) for action in StepAction]

OPERATION_FILTERS = FilterSet(
    owner_filter(
        "account", "subscription__account", ProviderAccount.objects.all, label="Account", choices=account_choices
    ),
    choice_filter("action", "action", _ACTIONS, label="Action"),
    choice_filter("status", "status", OperationStatus.choices, label="Result"),
    owner_filter("subscription", "subscription", Subscription.objects.all, label="Subscription"),
)
