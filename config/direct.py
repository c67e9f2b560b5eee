"""The paths that nothing of the framework may stand in front of."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import resolve

GetResponse = Callable[[HttpRequest], HttpResponseBase]


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
        match = resolve(request.path_info)
        request.resolver_match = match
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.render()
        return response
