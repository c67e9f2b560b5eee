"""The scopes that a person may give to a token: those whose work the person may do in the dashboard."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, PermissionsMixin

from config.models import Scope

_READ_ACCOUNTS = ("providers.view_provideraccount",)
_READ_SUBSCRIPTIONS = (
    "subscriptions.view_subscription",
    "subscriptions.view_operation",
    "subscriptions.view_problem",
    "subscriptions.view_channel",
)
_READ_EVENTS = ("events.view_event", "events.view_webhookrequest")
_CHANGE = ("add", "change", "delete")

PERMISSIONS: Mapping[Scope, tuple[str, ...]] = {
    Scope.ACCOUNTS_READ: _READ_ACCOUNTS,
    Scope.ACCOUNTS_WRITE: (
        *_READ_ACCOUNTS,
        *(f"providers.{verb}_provideraccount" for verb in _CHANGE),
        "subscriptions.delete_subscription",  # an account is deleted together with its subscriptions
    ),
    Scope.SUBSCRIPTIONS_READ: _READ_SUBSCRIPTIONS,
    Scope.SUBSCRIPTIONS_WRITE: (
        *_READ_SUBSCRIPTIONS,
        *(f"subscriptions.{verb}_{model}" for verb in _CHANGE for model in ("subscription", "channel")),
        "subscriptions.change_problem",
    ),
    Scope.EVENTS_READ: _READ_EVENTS,
    Scope.EVENTS_WRITE: (*_READ_EVENTS, "events.change_webhookrequest"),
    Scope.SECRETS_READ: ("subscriptions.change_subscription",),
}


def grantable_scopes(user: AbstractBaseUser | AnonymousUser) -> tuple[Scope, ...]:
    """Return the scopes that the user may give to a token."""
    if not isinstance(user, PermissionsMixin):
        return ()
    return tuple(scope for scope in Scope if user.has_perms(PERMISSIONS[scope]))
