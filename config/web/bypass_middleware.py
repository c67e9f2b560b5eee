"""The paths that nothing of the framework may stand in front of."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import ResolverMatch, resolve

HOOKS = "/hooks/"

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class HookHandler(WSGIHandler):
    """Django's handler, that calls /hooks/ without the signals around a request. Those look after the thread's own
    database connection and caches, which receiving does not use, and cost more than all that it does."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Django's answer."""
        if not environ.get("PATH_INFO", "").startswith(HOOKS):
            return super().__call__(environ, start_response)
        response: Any = self.get_response(self.request_class(environ))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]  # a list, which granian sends at once


class DirectPaths:
    """Calls the view of a path in DIRECT_PATHS at once, past every middleware after this one.

    A provider or a load balancer may send any Host header, and follows no redirect: the host check, the redirect to
    https, sessions and CSRF would each refuse or lose its request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The view's own answer for a direct path, the rest of the chain's for any other."""
        if not request.path_info.startswith(settings.DIRECT_PATHS):
            return self.get_response(request)
        match = _match(request.path_info, settings.ROOT_URLCONF)
        request.resolver_match = match
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return response


@lru_cache(maxsize=1024)
def _match(path: str, urls: str) -> ResolverMatch:
    """The view of a path, and what it is called with. Raises Resolver404."""
    return resolve(path, urls)
