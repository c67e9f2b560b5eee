"""Errors of the REST API as problem details (RFC 9457), each with its request ID.

`exception_handler` converts exceptions of views to problems. `ProblemDetailsMiddleware` does the same for unexpected
exceptions and for Django's own error pages.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from providers.conflict import Conflict
from providers.contract.errors import CallsPaused, InvalidInput, ProviderError, Throttled, Unsupported
from providers.contract.registry import UnknownProvider
from providers.contract.sanitize import sanitize_json
from providers.db.ids import new_id
from providers.models import ProviderAccount
from providers.rest.errors import field_errors

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

API, V1 = "/api/", "/api/v1/"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
DEFAULT_RETRY_AFTER_SECONDS = 10.0  # where the provider gives no time

TITLES = {
    "invalid": "Invalid input",
    "malformed": "Malformed request",
    "not_authenticated": "Authentication required",
    "bad_token": "Invalid token",
    "missing_scope": "Missing scope",
    "account_in_use": "Account in use",
    "plan_changed": "The plan has changed",
    "incomplete_choice": "A required step was not selected",
    "not_supported": "Not supported by the provider",
    "provider_error": "Provider error",
    "provider_throttled": "Provider rate limit reached",
    "busy": "Busy",
    "conflict": "Not allowed in the current state",
    "error": "Internal server error",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. `more` holds further members of its JSON, `headers` those of the response."""

    status: int
    code: str
    detail: str
    errors: tuple[Mapping[str, str], ...] = ()
    more: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, request: HttpRequest) -> HttpResponse:
        """Return the HTTP response."""
        body: dict[str, object] = {
            "type": f"urn:hookkeeper:problem:{self.code}",
            "title": TITLES.get(self.code) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id_of(request),
            **({"errors": list(self.errors)} if self.errors else {}),
            **self.more,
        }
        return HttpResponse(
            json.dumps(sanitize_json(body)),
            status=self.status,
            content_type="application/problem+json",
            headers=dict(self.headers),
        )


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the response for an exception of a view, as REST framework's `EXCEPTION_HANDLER`.

    Return None for unexpected exceptions; the middleware logs them and returns a 500.
    """
    problem = problem_for(error)
    return problem.response(context["request"]) if problem else None


def problem_for(error: Exception) -> Problem | None:
    """Return the problem that reports this exception, or None if the exception is unexpected."""
    match error:
        case exceptions.ValidationError():
            return Problem(400, "invalid", "The request has errors.", tuple(_flatten(error.detail)))
        case exceptions.APIException():
            return _from_framework(error)
        case Http404():
            return Problem(404, "not_found", "No such resource.")
        case DjangoPermissionDenied():
            return Problem(403, "permission_denied", "Permission denied.")
        case _:
            return _from_domain(error)


def _from_domain(error: Exception) -> Problem | None:
    match error:
        case InvalidInput():
            return Problem(400, "invalid", "The request has errors.", tuple(_flatten(field_errors(error, ""))))
        case Unsupported() | UnknownProvider():
            return Problem(409, "not_supported", str(error.args[0]))
        case Conflict():
            return Problem(error.status, error.code, str(error))
        case ProviderAccount.DoesNotExist():
            return Problem(404, "not_found", "The account has been deleted.")
        case ProviderError():
            return _from_provider(error)
        case _:
            return None


def _from_provider(error: ProviderError) -> Problem:
    retry = {"Retry-After": str(math.ceil(error.retry_after or DEFAULT_RETRY_AFTER_SECONDS))}
    match error:
        case Throttled():
            return Problem(503, "provider_throttled", error.message, headers=retry)
        case CallsPaused():  # nothing was sent; `cause` is the error of an earlier call
            return Problem(502, "provider_error", error.message, headers=retry, more={"provider_code": error.cause})
        case _:
            return Problem(502, "provider_error", error.message, more={"provider_code": error.code})


def _from_framework(error: exceptions.APIException) -> Problem:
    headers: dict[str, str] = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]  # set by APIView
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    codes = error.get_codes()
    code = codes if isinstance(codes, str) else error.default_code
    return Problem(error.status_code, code, str(error.detail), headers=headers)


def _flatten(detail: Any, path: str = "") -> Iterator[Mapping[str, str]]:
    """Yield REST framework's nested errors as a flat list with dotted field names."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            key = "" if name == "non_field_errors" else str(name)
            yield from _flatten(inner, ".".join(part for part in (path, key) if part))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list)
            yield from _flatten(inner, f"{path}.{index}" if nested else path)
    else:
        yield {"field": path, "code": getattr(detail, "code", "invalid"), "message": str(detail)}


class NotFoundView(APIView):
    """Responds 404 at every path under /api/ that has no view, without authentication.

    Without it Django would redirect to the path with a slash.
    """

    schema = None
    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise Http404 for every method."""
        raise Http404


def request_id_of(request: HttpRequest) -> str:
    """Return the ID that the client sent with its request, or a new one; always the same for one request."""
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        given = request.headers.get("X-Request-ID", "")
        known = given if REQUEST_ID.fullmatch(given) else str(new_id())
        request.request_id = known  # type: ignore[attr-defined]
    return known


class ProblemDetailsMiddleware:
    """Adds the request ID to each response of the API, and replaces Django's error pages with problem details."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response of the next layer, or a problem in its place."""
        if not request.path_info.startswith(API):
            return self.get_response(request)
        request_id = request_id_of(request)
        response = _refuse_chunked(request) or self.get_response(request)
        if not _is_problem(response) and (response.status_code >= 400 or _is_redirect(response, request)):
            response = _problem_instead_of(response, request)
        response["X-Request-ID"] = request_id
        response.setdefault("Cache-Control", "no-store")
        return response


def _refuse_chunked(request: HttpRequest) -> HttpResponse | None:
    """Return a problem for a chunked body, which Django would read as an empty one."""
    if not request.headers.get("Transfer-Encoding") or request.headers.get("Content-Length"):
        return None
    return Problem(411, "length_required", "Send the body with a Content-Length header.").response(request)


def _is_problem(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def _is_redirect(response: HttpResponseBase, request: HttpRequest) -> bool:
    return 300 <= response.status_code < 400 and request.path_info.startswith(V1)


def _problem_instead_of(response: HttpResponseBase, request: HttpRequest) -> HttpResponse:
    status = response.status_code
    if status < 400:
        # The only redirect is the one to HTTPS. A client that followed it would send its token unencrypted each time.
        return Problem(403, "https_required", "Use HTTPS.").response(request)
    if status >= 500:
        logger.error("API request %s failed with status %s", request_id_of(request), status)
        return Problem(status, "error", "An internal error occurred and was logged under this request ID.").response(
            request
        )
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "_"), f"{phrase}.").response(request)
