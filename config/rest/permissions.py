"""What a token may do, from the scopes that a view names."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from config.models import ApiToken


class HasScopes(BasePermission):
    """Needs a token with the scopes of the view's action; `providers.rest.views.ApiViewSet` tells which."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """False without a token. Raises PermissionDenied, naming the scope that is missing."""
        token = request.auth
        if not isinstance(token, ApiToken):
            return False
        for scope in scopes_needed(view, request.method or ""):
            if not token.allows(scope):
                raise PermissionDenied(f"This needs a token with the scope {scope}.", code="missing_scope")
        return True


def scopes_needed(view: Any, method: str) -> tuple[str, ...]:
    """The scopes of one action. A method that the view does not have needs none: the answer is 405."""
    action = getattr(view, "action", None)
    if action is None:
        return ()
    if action in view.scopes_of:
        named: tuple[str, ...] = view.scopes_of[action]
        return named
    if view.scope is None:
        return ()
    return (f"{view.scope}:{'read' if method in SAFE_METHODS else 'write'}",)
