"""What the lists of accounts and subscriptions can be narrowed by."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from providers.models import AccountStatus, ProviderAccount
from providers.rest.filters import Filters, any_of, belonging_to, choices, flag, ids, moment, text, texts
from subscriptions.models import Managed, ProblemKind, ProblemState, Severity, State, Subscription


class AccountFilters(Filters):
    """Of /accounts/."""

    provider = texts("A provider's slug.")
    status = choices(AccountStatus.choices)
    name = texts("Exactly this name.")
    q = text("Part of the name.")

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The accounts that pass."""
        rows = rows.filter(
            any_of("provider", self.chosen("provider")),
            any_of("status", self.chosen("status")),
            any_of("name", self.chosen("name")),
        )
        q = self.chosen("q")
        return rows.filter(name__icontains=q) if q else rows


class SubscriptionFilters(Filters):
    """Of /subscriptions/."""

    account = ids("An account's id.")
    provider = texts("A provider's slug.")
    state = choices(State.choices, "Deleted ones are left out unless they are asked for here.")
    enabled = flag()
    managed = choices(Managed.choices)
    name = texts("Exactly this name.")
    expires_before = moment("Only those whose lease ends before this.")
    renews_before = moment("Only those that are to be renewed before this.")
    q = text("Part of the name, the remote id or the callback URL.")

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The subscriptions that pass."""
        states = self.chosen("state")
        rows = rows.filter(
            any_of("state", states) if states else ~Q(state=State.DELETED),
            belonging_to("account", ProviderAccount.objects.all(), self.chosen("account")),
            any_of("account__provider", self.chosen("provider")),
            any_of("managed", self.chosen("managed")),
            any_of("name", self.chosen("name")),
        )
        if self.chosen("enabled") is not None:
            rows = rows.filter(enabled=self.chosen("enabled"))
        for name, column in (("expires_before", "expires_at__lt"), ("renews_before", "renew_at__lt")):
            if self.chosen(name) is not None:
                rows = rows.filter(**{column: self.chosen(name)})
        q = self.chosen("q")
        if q:
            rows = rows.filter(Q(name__icontains=q) | Q(remote_id__icontains=q) | Q(callback_url__icontains=q))
        return rows


class ProblemFilters(Filters):
    """Of /problems/."""

    state = choices(ProblemState.choices)
    kind = choices(ProblemKind.choices)
    severity = choices(Severity.choices)
    account = ids("An account's id: problems of the account and of its subscriptions.")
    subscription = ids("A subscription's id.")

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The problems that pass."""
        return rows.filter(
            any_of("state", self.chosen("state")),
            any_of("kind", self.chosen("kind")),
            any_of("severity", self.chosen("severity")),
            belonging_to("account", ProviderAccount.with_deleted.all(), self.chosen("account")),
            belonging_to("subscription", Subscription.objects.all(), self.chosen("subscription")),
        )
