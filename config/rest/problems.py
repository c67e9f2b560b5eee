"""Errors as problem details (RFC 9457), each with the id of its request."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from config.web.bypass_middleware import GetResponse
from providers.conflict import Conflict
from providers.contract.errors import CallsPaused, InvalidInput, ProviderError, Throttled, Unsupported
from providers.contract.registry import UnknownProvider
from providers.db.ids import new_id
from providers.models import ProviderAccount
from providers.rest.errors import field_errors

logger = logging.getLogger(__name__)

API, V1 = "/api/", "/api/v1/"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RETRY_AFTER = 10.0  # seconds, where a provider does not say for how long

TITLES = {
    "invalid": "Invalid input",
    "malformed": "Malformed request",
    "not_authenticated": "A token is needed",
    "bad_token": "Bad token",
    "missing_scope": "A scope is missing",
    "account_in_use": "The account is in use",
    "plan_changed": "The plan has changed",
    "incomplete_choice": "A step that belongs to it was not chosen",
    "not_supported": "Not supported by the provider",
    "provider_error": "The provider failed or refused",
    "provider_throttled": "The provider takes no calls now",
    "busy": "Busy",
    "error": "An error of ours",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as it is told. `more` are further members, `headers` those of the answer."""

    status: int
    code: str
    detail: str
    errors: tuple[Mapping[str, str], ...] = ()
    more: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The HTTP answer."""
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
            json.dumps(body), status=self.status, content_type="application/problem+json", headers=dict(self.headers)
        )


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """REST framework's exception handler. None for what nobody foresaw: it is logged, and `ApiProblems` answers."""
    problem = problem_for(error)
    return problem.answer(context["request"]) if problem else None


def problem_for(error: Exception) -> Problem | None:
    """How an exception is told to the client."""
    match error:
        case exceptions.ValidationError():
            return Problem(400, "invalid", "The request has errors.", tuple(_flat(error.detail)))
        case exceptions.APIException():
            return _from_framework(error)
        case Http404():
            return Problem(404, "not_found", "There is nothing here.")
        case DjangoPermissionDenied():
            return Problem(403, "permission_denied", "That is not allowed.")
        case _:
            return _from_ours(error)


def _from_ours(error: Exception) -> Problem | None:
    match error:
        case InvalidInput():
            return Problem(400, "invalid", "The request has errors.", tuple(_flat(field_errors(error, ""))))
        case Unsupported() | UnknownProvider():
            return Problem(409, "not_supported", str(error.args[0]))
        case Conflict():
            return Problem(error.status, error.code, str(error))
        case ProviderAccount.DoesNotExist():
            return Problem(404, "not_found", "The account was deleted meanwhile.")
        case ProviderError():
            return _from_provider(error)
        case _:
            return None


def _from_provider(error: ProviderError) -> Problem:
    again = {"Retry-After": str(math.ceil(error.retry_after or RETRY_AFTER))}
    match error:
        case Throttled():
            return Problem(503, "provider_throttled", error.message, headers=again)
        case CallsPaused():  # it has failed or refused before, and is not asked again yet
            return Problem(502, "provider_error", error.message, headers=again, more={"provider_code": error.cause})
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


def _flat(detail: Any, path: str = "") -> Iterator[Mapping[str, str]]:
    """REST framework's nested errors as a list, with dotted fields."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _flat(inner, ".".join(part for part in (path, own) if part))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list)
            yield from _flat(inner, f"{path}.{index}" if nested else path)
    else:
        yield {"field": path, "code": getattr(detail, "code", "invalid"), "message": str(detail)}


class NothingHere(APIView):
    """Every path under /api/ without a view of its own: a 404 for anybody, never a redirect to one with a slash."""

    schema = None
    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Whatever the method."""
        raise Http404


def request_id_of(request: HttpRequest) -> str:
    """The id that the client gave to its request, or a fresh one; the same for the whole request."""
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        given = request.headers.get("X-Request-ID", "")
        known = given if REQUEST_ID.fullmatch(given) else str(new_id())
        request.request_id = known  # type: ignore[attr-defined]
    return known


class ApiProblems:
    """Middleware around the API: gives each answer its request id, and makes every error that did not come from a view
    (unhandled ones, Django's own pages) problem details as well."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The answer of the rest of the chain, or a problem in its place."""
        if not request.path_info.startswith(API):
            return self.get_response(request)
        request_id = request_id_of(request)
        response = _without_length(request) or self.get_response(request)
        if not _is_problem(response) and (response.status_code >= 400 or _is_redirect(response, request)):
            response = _in_place_of(response, request)
        response["X-Request-ID"] = request_id
        response.setdefault("Cache-Control", "no-store")
        return response


def _without_length(request: HttpRequest) -> HttpResponse | None:
    """Refuses a chunked body: Django would take it for an empty one."""
    if not request.headers.get("Transfer-Encoding") or request.headers.get("Content-Length"):
        return None
    return Problem(411, "length_required", "Send the body with its Content-Length.").answer(request)


def _is_problem(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/problem+json")


def _is_redirect(response: HttpResponseBase, request: HttpRequest) -> bool:
    return 300 <= response.status_code < 400 and request.path_info.startswith(V1)


def _in_place_of(response: HttpResponseBase, request: HttpRequest) -> HttpResponse:
    status = response.status_code
    if status < 400:
        # Only the one to https is ever made. Following it would send the token in clear first, each time.
        return Problem(403, "https_required", "Use https.").answer(request)
    if status >= 500:
        logger.error("Request %s ended with %s", request_id_of(request), status)
        return Problem(status, "error", "Something went wrong here; the log has more under this request id.").answer(
            request
        )
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "_"), f"{phrase}.").answer(request)
