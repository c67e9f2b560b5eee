"""Handle the requests at /hooks/<token>.

`respond` is a plain function from a request to a response. It has two entries: `HookView` in Django, and
`config.web.receiver_entry` in front of Django. `config.web.bypass_middleware` lists the middleware that the view
bypasses.

Providers disable a webhook after a few refusals. So no 4xx is sent for a reason that Hookkeeper's operators may
resolve, and never a redirect or a 500.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Protocol

import django.db
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.views import APIView

from events.processing.verify import verify
from events.receiver.group_commit import writer
from events.receiver.pending_write import NotStored
from events.receiver.rotation_signal import rotation_signals
from events.receiver.spool_drain import drainer
from events.receiver.subscription_cache import (
    LookupUnavailable,
    ReceivableSubscription,
    SubscriptionDeleted,
    receivable_subscriptions,
)
from events.storage import thread_priority
from events.storage.body import Body, BodyTooLarge, BrokenBody, TooManyBodies, read_body
from events.storage.request_row import InboundCall, to_row
from providers.contract.capabilities import Proof
from providers.contract.parsing import InboundRequest
from subscriptions.lifecycle.ip_allowlist import rejection_reason

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST")
RETRY_AFTER_SECONDS = "10"
CONTENT_VARIABLES = ("CONTENT_TYPE", "CONTENT_LENGTH")  # the headers that WSGI does not prefix with HTTP_
DEFERRED_RESPONSE_KEY = "hookkeeper.deferred"  # in the WSGI environment
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Some servers mix the process's own environment into the request's, where HTTP_PROXY would look like a header.
PROCESS_ENVIRONMENT = {key: value for key, value in os.environ.items() if key.startswith("HTTP_")}


# This class and others that are created for each request are not frozen, because that would triple their cost.
@dataclass(slots=True)
class HookRequest:
    """An HTTP request at a callback URL. `environ` is the WSGI environment."""

    method: str
    token: str
    environ: Mapping[str, Any] = field(repr=False)


class DeferredResponse(Protocol):
    """Lets another thread send the response later; see `config.web.deferred_response`."""

    def detach(self) -> None:
        """Ignore what the application returns for this request."""

    def send(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send the response. Only the first call counts."""


@dataclass(frozen=True, slots=True)
class HookResponse:
    """A response, which never has a body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


TRY_LATER = HookResponse(503, (("Retry-After", RETRY_AFTER_SECONDS),))
STORED = HookResponse(200)
REJECTED = HookResponse(401)
NOT_FOUND = HookResponse(404)


def respond(hook_request: HookRequest) -> HookResponse:
    """Return the response of `receive`, or 503 if it fails or defers its response.

    The server ignores what is returned for a deferred response. Should it not, a 503 is safe: it confirms nothing.
    """
    try:
        return receive(hook_request) or TRY_LATER
    except SubscriptionDeleted:
        return NOT_FOUND
    except (django.db.Error, NotStored, TooManyBodies) as error:
        _log_not_stored(error)
    except Exception:
        # A bug on our side must not make the provider disable the webhook. It sends the request again.
        logger.exception("A webhook request could not be handled")
    return TRY_LATER


def receive(hook_request: HookRequest) -> HookResponse | None:
    """Find the subscription, check the size, verify the request and store it. Its events are processed later.

    Returns None if the thread that stores the request sends the response. Raises SubscriptionDeleted, and any exception
    of the database or the plug-in.
    """
    if hook_request.method not in METHODS:
        return _method_not_allowed(METHODS)
    try:
        token = hook_request.token
        subscription = receivable_subscriptions.find(token) if TOKEN.fullmatch(token) else None
    except LookupUnavailable:
        return TRY_LATER
    if subscription is None:
        return NOT_FOUND
    if hook_request.method == "HEAD":
        return STORED
    capabilities = subscription.plugin.capabilities
    if hook_request.method not in capabilities.methods:
        return _method_not_allowed((*capabilities.methods, "HEAD"))
    if capabilities.proof is not Proof.URL and not subscription.secrets:
        subscription = receivable_subscriptions.find_newer(subscription) or subscription
        if not subscription.secrets:
            logger.warning("A webhook request arrived for subscription %s, which has no secret yet.", subscription.uid)
            return TRY_LATER
    try:
        return _verify_and_store(hook_request, subscription)
    except BodyTooLarge:
        logger.warning("A webhook request for subscription %s exceeds MAX_BODY_BYTES.", subscription.uid)
        return HookResponse(413)
    except BrokenBody as error:
        logger.info("A webhook request for subscription %s was not stored: %s", subscription.uid, error)
        return HookResponse(400)


def prepare_to_receive() -> None:
    """Start what the receiver needs, in a process that is about to serve requests.

    The subscriptions and the spool have to be ready before the database becomes unavailable.
    """
    if settings.RECEIVE_IN_THREADS:
        thread_priority.shorten_switch_interval()
        thread_priority.lower_wakeup_priority()
        receivable_subscriptions.refresh()  # otherwise most of many simultaneous first requests would get a 503
        drainer.start()


def read_headers(environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a WSGI environment in Title-Case, in the server's order.

    WSGI drops the case of the names and joins repeated lines; docs/receiver.md says what else granian drops.
    """
    return tuple(
        (name, value if value.isascii() else _header_text(value))
        for key, value in environ.items()
        if (name := _header_name(key)) is not None
        and (value if key in CONTENT_VARIABLES else PROCESS_ENVIRONMENT.get(key) != value)
    )


@lru_cache(maxsize=1024)
def _header_name(key: str) -> str | None:
    """Return the name of the header behind a WSGI variable, or None when it is no header."""
    if key.startswith("HTTP_"):
        return key[5:].replace("_", "-").title()
    return key.replace("_", "-").title() if key in CONTENT_VARIABLES else None


def _header_text(value: str) -> str:
    """Return a header value as text: its bytes, which WSGI passes as ISO-8859-1, as UTF-8 if they are valid UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _method_not_allowed(allowed: tuple[str, ...]) -> HookResponse:
    return HookResponse(405, (("Allow", ", ".join(sorted(set(allowed)))),))


def _log_not_stored(error: Exception) -> None:
    logger.error("A webhook request could not be stored: %s", str(error).partition("\n")[0])


def _verify_and_store(hook_request: HookRequest, subscription: ReceivableSubscription) -> HookResponse | None:
    received_at = timezone.now()
    environ = hook_request.environ
    can_truncate = subscription.plugin.capabilities.sends_files
    body = read_body(environ, limit=settings.MAX_BODY_BYTES, can_truncate=can_truncate)
    inbound = InboundRequest(
        method=hook_request.method,
        url=subscription.callback_url,
        query=environ.get("QUERY_STRING", ""),
        headers=read_headers(environ),
        body=body.content,
        received_at=received_at,
        former_urls=subscription.former_urls,
    )
    call = _verify(hook_request, subscription, inbound, body)
    if not call.accepted and (newer := receivable_subscriptions.find_newer(subscription)):
        subscription = newer
        inbound = replace(inbound, url=subscription.callback_url, former_urls=subscription.former_urls)
        call = _verify(hook_request, subscription, inbound, body)
    deferred: DeferredResponse | None = environ.get(DEFERRED_RESPONSE_KEY)
    if deferred is None:
        writer.store(to_row(call))
    elif not writer.store(to_row(call), partial(_send_deferred, deferred, subscription, call)):
        deferred.detach()
        return None
    return _respond_to_stored(subscription, call)


def _verify(
    hook_request: HookRequest, subscription: ReceivableSubscription, inbound: InboundRequest, body: Body
) -> InboundCall:
    """Verify the request against the cached subscription."""
    address: str = hook_request.environ.get("REMOTE_ADDR", "")
    return InboundCall(
        subscription_id=subscription.id,
        account_id=subscription.account_id,
        sensitive_headers=subscription.sensitive_headers,
        inbound=inbound,
        verification=verify(subscription.plugin, inbound, subscription.secrets, subscription.settings),
        remote_addr=address,
        size=body.size,
        truncated=body.truncated,
        secrets=subscription.secrets,
        network_refusal=rejection_reason(address, subscription.allowed_networks),
    )


def _send_deferred(
    deferred: DeferredResponse, subscription: ReceivableSubscription, call: InboundCall, error: NotStored | None
) -> None:
    """Send the response once the request is stored or has failed. Called by the thread that stores requests."""
    if error is not None:
        _log_not_stored(error)
    response = _respond_to_stored(subscription, call) if error is None else TRY_LATER
    deferred.send(response.status, response.headers)


def _respond_to_stored(subscription: ReceivableSubscription, call: InboundCall) -> HookResponse:
    if subscription.is_rotating and call.accepted and call.verification.secret_index == 0:
        rotation_signals.report_newest_secret(subscription)
    return STORED if call.accepted else REJECTED


class HookView(APIView):
    """`respond` as a view, without REST framework's content negotiation, parsers and authentication."""

    schema = None  # not part of the documented REST API

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Respond with the method as it was sent: Django's own attribute is upper-cased."""
        hook_response = respond(HookRequest(request.META["REQUEST_METHOD"], kwargs["token"], request.META))
        headers = {"Content-Length": "0", **dict(hook_response.headers)}
        response = HttpResponse(status=hook_response.status, content_type="", headers=headers)
        del response["Content-Type"]  # there is no content
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # no log line for each refusal
        return response
