"""Paths that bypass Django's middleware and request signals: the receiver and the health checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import ResolverMatch, resolve

RECEIVER_PREFIX = "/hooks/"

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ReceiverWSGIHandler(WSGIHandler):
    """Django's WSGI handler, except that /hooks/ is called without the request signals.

    The signals manage the thread's database connection and caches. The receiver uses neither, and the signals take
    longer than the receiver itself.
    """

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Return the response body as WSGI expects it."""
        if not environ.get("PATH_INFO", "").startswith(RECEIVER_PREFIX):
            return super().__call__(environ, start_response)
        response: Any = self.get_response(self.request_class(environ))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]  # granian sends a list in one piece


class BypassMiddleware:
    """Call the view of a path in BYPASS_PATHS directly, without the middleware that follows.

    A provider or a load balancer may send any Host header and does not follow redirects. The host check, the redirect
    to HTTPS, sessions and CSRF protection would each reject or lose its request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's response for a bypassed path, and the rest of the chain's for any other path."""
        if not request.path_info.startswith(settings.BYPASS_PATHS):
            return self.get_response(request)
        match = _resolve(request.path_info, settings.ROOT_URLCONF)
        request.resolver_match = match
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return response


@lru_cache(maxsize=1024)
def _resolve(path: str, urls: str) -> ResolverMatch:
    """Return the view of a path with its arguments. Raise Resolver404 if there is none."""
    return resolve(path, urls)
