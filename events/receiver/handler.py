"""What is answered at /hooks/<token>, and the first door to it.

`receive` is a plain function from a call to an answer. `HookView` is its door in Django, and stands without any
setting; what it bypasses, and why, stands in `config.web.bypass_middleware`. The second door, in front of Django, is
`config.web.receiver_entry`.
Providers switch a webhook off after a few refusals, so no 4xx is given for a reason that can heal on our side, and
never a redirect or a 500.
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
from events.receiver.group_commit import NotStored, writer
from events.receiver.rotation_signal import proofs
from events.receiver.spool_drain import drainer
from events.receiver.subscription_cache import Gone, NotKnown, ReceivableSubscription, known_subscriptions
from events.storage import thread_priority
from events.storage.body import Body, BodyTooLarge, BrokenBody, NoTurn, read_body
from events.storage.request_row import InboundCall, to_row
from providers.contract.capabilities import Proof
from providers.contract.parsing import InboundRequest
from subscriptions.lifecycle.ip_allowlist import why_elsewhere

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST")
RETRY_AFTER = "10"  # seconds
CONTENT = ("CONTENT_TYPE", "CONTENT_LENGTH")
DEFERRED = "hookkeeper.deferred"  # in WSGI's environment
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Some servers put the process's own environment beside the request's: HTTP_PROXY is not a header then.
PROCESS_ENVIRONMENT = {key: value for key, value in os.environ.items() if key.startswith("HTTP_")}


# Here and below, a value that each call makes is not frozen: that alone makes it thrice as dear.
@dataclass(slots=True)
class Call:
    """One HTTP call at a callback URL. `environ` is WSGI's."""

    method: str
    token: str
    environ: Mapping[str, Any] = field(repr=False)


class Deferred(Protocol):
    """How to answer a call from another thread, later: see `config.web.deferred_answer`."""

    def leave(self) -> None:
        """Nothing is sent of what the application returns."""

    def give(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Answers. Only the first time counts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Always without a body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()


LATER = Answer(503, (("Retry-After", RETRY_AFTER),))  # something on our side has to heal first
STORED = Answer(200)
REJECTED = Answer(401)
UNKNOWN = Answer(404)


def answer(call: Call) -> Answer:
    """What every door answers: `receive`, or 503 when that fails; also where the answer is deferred, since it claims
    nothing, should it be sent after all."""
    try:
        return receive(call) or LATER
    except Gone:
        return UNKNOWN
    except (django.db.Error, NotStored, NoTurn) as error:
        _log_not_stored(error)
    except Exception:
        # A bug of ours must not teach a provider that this webhook is broken: it sends again, and we can fix it.
        logger.exception("A webhook request could not be handled")
    return LATER


def receive(call: Call) -> Answer | None:
    """Find the subscription, cap the size, verify, store, answer; the events follow later. None: so does the answer,
    from the thread that stores it, where the server can take it then.

    Raises Gone, and whatever the database or a plug-in raises; `answer` knows what to say then.
    """
    if call.method not in METHODS:
        return _wrong_method(METHODS)
    try:
        known = known_subscriptions.find(call.token) if TOKEN.fullmatch(call.token) else None
    except NotKnown:
        return LATER
    if known is None:
        return UNKNOWN
    if call.method == "HEAD":
        return STORED
    capabilities = known.plugin.capabilities
    if call.method not in capabilities.methods:
        return _wrong_method((*capabilities.methods, "HEAD"))
    if capabilities.proof is not Proof.URL and not known.secrets:
        known = known_subscriptions.newer(known) or known
        if not known.secrets:
            logger.warning("A webhook request came for subscription %s, but no secret is known yet.", known.uid)
            return LATER
    try:
        return _keep(call, known)
    except BodyTooLarge:
        logger.warning("A webhook request for subscription %s exceeds MAX_BODY_BYTES.", known.uid)
        return Answer(413)
    except BrokenBody as error:
        logger.info("A webhook request for subscription %s was not stored: %s", known.uid, error)
        return Answer(400)


def prepare() -> None:
    """Called by a process that is about to receive: what it needs when the database is away has to be there before."""
    if settings.RECEIVE_IN_THREADS:
        thread_priority.take_short_turns()
        thread_priority.give_way()
        known_subscriptions.read_again()  # else all but a few of the first calls would hear 503, if many come at once
        drainer.start()


def headers_of(environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The headers as WSGI shows them, in Title-Case; their original case, and order among equals, are lost there."""
    return tuple(
        (name, value)
        for key, value in environ.items()
        if (name := _header(key)) is not None and (value if key in CONTENT else PROCESS_ENVIRONMENT.get(key) != value)
    )


@lru_cache(maxsize=1024)
def _header(key: str) -> str | None:
    """The header's name; None when it is none."""
    if key.startswith("HTTP_"):
        return key[5:].replace("_", "-").title()
    return key.replace("_", "-").title() if key in CONTENT else None


def _wrong_method(allowed: tuple[str, ...]) -> Answer:
    return Answer(405, (("Allow", ", ".join(sorted(set(allowed)))),))


def _log_not_stored(error: Exception) -> None:
    logger.error("A webhook request could not be stored: %s", str(error).partition("\n")[0])


def _keep(call: Call, known: ReceivableSubscription) -> Answer | None:
    received_at = timezone.now()
    body = read_body(call.environ, limit=settings.MAX_BODY_BYTES, cut=known.plugin.capabilities.sends_files)
    inbound = InboundRequest(
        method=call.method,
        url=known.callback_url,
        query=call.environ.get("QUERY_STRING", ""),
        headers=headers_of(call.environ),
        body=body.content,
        received_at=received_at,
        former_urls=known.former_urls,
    )
    arrival = _judged(call, known, inbound, body)
    if not arrival.accepted and (newer := known_subscriptions.newer(known)):
        known = newer
        inbound = replace(inbound, url=known.callback_url, former_urls=known.former_urls)
        arrival = _judged(call, known, inbound, body)
    deferred: Deferred | None = call.environ.get(DEFERRED)
    if deferred is None:
        writer.store(to_row(arrival))
    elif not writer.store(to_row(arrival), partial(_give, deferred, known, arrival)):
        deferred.leave()
        return None
    return _once_stored(known, arrival)


def _give(deferred: Deferred, known: ReceivableSubscription, arrival: InboundCall, error: NotStored | None) -> None:
    """What `answer` would answer. Called by whoever stored it, or could not."""
    if error is not None:
        _log_not_stored(error)
    given = _once_stored(known, arrival) if error is None else LATER
    deferred.give(given.status, given.headers)


def _once_stored(known: ReceivableSubscription, arrival: InboundCall) -> Answer:
    if known.rotating and arrival.accepted and arrival.verification.secret_index == 0:
        proofs.note(known)
    return STORED if arrival.accepted else REJECTED


def _judged(call: Call, known: ReceivableSubscription, inbound: InboundRequest, body: Body) -> InboundCall:
    """What the call is, going by what is known."""
    address: str = call.environ.get("REMOTE_ADDR", "")
    return InboundCall(
        subscription_id=known.id,
        account_id=known.account_id,
        sensitive=known.sensitive,
        inbound=inbound,
        verification=verify(known.plugin, inbound, known.secrets, known.settings),
        remote_addr=address,
        size=body.size,
        truncated=body.truncated,
        elsewhere=why_elsewhere(address, known.allowed_networks),
    )


class HookView(APIView):
    """`answer` behind REST framework, whose negotiation, parsers and authentication have no say here."""

    schema = None  # no part of the REST API's documentation

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Straight to `answer`, with the method as it was sent: Django shows it in upper case."""
        found = answer(Call(request.META["REQUEST_METHOD"], kwargs["token"], request.META))
        headers = {"Content-Length": "0", **dict(found.headers)}
        response = HttpResponse(status=found.status, content_type="", headers=headers)
        del response["Content-Type"]  # there is no content
        response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001  # not a line for each refusal
        return response
