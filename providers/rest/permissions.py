"""Permissions of the REST API: a token needs the scopes that the view names."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


@runtime_checkable
class ScopedToken(Protocol):
    """The token that authentication stores in `request.auth`."""

    def allows(self, scope: str) -> bool:
        """Return whether the token has this scope."""


class HasScopes(BasePermission):
    """Requires a token with the scopes of the view's action; see `providers.rest.views.ApiViewSet`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return False without a token. Raises PermissionDenied, naming the missing scope, if the token lacks one."""
        token = request.auth
        if not isinstance(token, ScopedToken):
            return False
        for scope in scopes_needed(view, request.method or ""):
            if not token.allows(scope):
                raise PermissionDenied(f"This requires a token with the scope {scope}.", code="missing_scope")
        return True


def scopes_needed(view: Any, method: str) -> tuple[str, ...]:
    """Return the scopes that one method of a view requires; none for a method that it lacks, which is a 405."""
    action = getattr(view, "action", None)
    if action is None:
        return ()
    if action in view.scopes_of:
        scopes: tuple[str, ...] = view.scopes_of[action]
        return scopes
    if view.scope is None:
        return ()
    return (f"{view.scope}:{'read' if method in SAFE_METHODS else 'write'}",)
