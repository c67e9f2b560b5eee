"""Requests and events: for reading, and for reading a request again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils import timezone

from events.admin import outcome_text
from events.admin.reprocess import ReprocessPages
from events.api.filters import MOST_WILDCARDS, of_types
from events.models import Event, Outcome, WebhookRequest
from events.processing import reprocess
from events.retention import purge
from events.storage import time_range
from events.storage.time_range import AGES
from providers.audit import log
from providers.contract import registry
from providers.contract.capabilities import Action, EventType
from providers.dashboard.base import PageAdmin, actor_of
from providers.dashboard.list_page import Choices, Filter, NotUnderstood, among, moment, related
from providers.models import ProviderAccount
from subscriptions.admin.accounts import account_choices, provider_choices
from subscriptions.models import Subscription

M = TypeVar("M", bound=Model)
MOST_SHOWN = 256 * 1024  # bytes of a body on a page; the rest is for the download
MOST_PARSED = 1024 * 1024
MOST_PARAMETERS = 200
FORM = "application/x-www-form-urlencoded"
SEARCHED = 100_000  # events that a search looks through; older ones are reached with a time
REQUEST = "request"
ACTIONS: Choices = [(action.value, action.value.replace("_", " ").capitalize()) for action in Action]


def subscription_choices() -> Choices:
    """Every subscription, for a filter."""
    rows = Subscription.objects.order_by("-pk").only("name", "uid")[:500]
    return [(str(row.pk), str(row)) for row in rows]


def of_provider(rows: QuerySet[Event], slug: str) -> QuerySet[Event]:
    """By the accounts there, which the index knows."""
    return rows.filter(account__in=list(ProviderAccount.objects.filter(provider=slug).values_list("pk", flat=True)))


def of_pattern(rows: QuerySet[Event], value: str) -> QuerySet[Event]:
    """By the provider's own word, in which `*` stands for anything."""
    if value.count("*") > MOST_WILDCARDS:
        raise NotUnderstood
    return of_types(rows, [value])


def time_filters(
    since: Callable[[QuerySet[M], Any], QuerySet[M]], until: Callable[[QuerySet[M], Any], QuerySet[M]]
) -> tuple[Filter[M], ...]:
    """A select for the usual spans, and exact times."""

    def within(rows: QuerySet[M], value: str) -> QuerySet[M]:
        if value not in AGES:
            raise NotUnderstood
        return since(rows, timezone.now() - AGES[value][1])

    return (
        Filter("within", "Time", within, lambda: [(key, label) for key, (label, _) in AGES.items()]),
        Filter("since", "From (UTC)", lambda rows, value: since(rows, moment(value))),
        Filter("until", "Before (UTC)", lambda rows, value: until(rows, moment(value))),
    )


@admin.register(WebhookRequest)
class RequestAdmin(ReprocessPages):
    """Requests, verbatim. Reading one again needs the permission to change it; nothing else can be changed."""

    list_template = "requests/list.html"
    detail_template = "requests/detail.html"
    list_title = "Requests"
    history_kind = REQUEST
    list_intro = "Every call that came in at a callback URL, kept as it was sent."
    filters = (
        Filter("outcome", "Outcome", among("outcome", lambda: Outcome.choices), lambda: Outcome.choices),
        Filter("account", "Account", related("account"), account_choices),
        Filter("subscription", "Subscription", related("subscription"), subscription_choices),
        *time_filters(time_range.requests_since, time_range.requests_until),
    )

    def rows(self, request: HttpRequest) -> QuerySet[WebhookRequest]:
        """Without bodies and headers."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.only(
            *("method", "received_at", "remote_addr", "size", "verification", "outcome", "reason"),
            *("subscription__name", "subscription__uid", "subscription__account__name"),
            "subscription__account__provider",
        )

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Whether this person may process them again, and where."""
        return {"may_reprocess": self.may_reprocess(request), "reprocess_url": self.reprocess_url(request)}

    def detail_rows(self, request: HttpRequest) -> QuerySet[WebhookRequest]:
        """With where it belongs; never a secret."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.defer("headers", "sealed_headers", "subscription__secrets", "subscription__account__credentials")

    def detail_context(self, request: HttpRequest, row: WebhookRequest) -> dict[str, Any]:
        """The body as it can best be read, and what its outcome means."""
        body = bytes(row.body)
        sees_events = request.user.has_perm("events.view_event")
        return {
            "outcome_words": outcome_text.OUTCOMES[row.outcome],
            "verification_words": outcome_text.VERIFICATIONS[row.verification],
            "events": list(row.events.order_by("pk").defer("data")[:101]) if sees_events else [],
            **_body_context(body),
            "headers": (headers := row.readable_headers()),
            "parameters": _parameters(row, headers or [], body),
            "kept_until": purge.kept_until(row),
            "reprocess": outcome_text.reprocess_label(row) if self.may_reprocess(request) else None,
            "newer": self._neighbour(row, newer=True),
            "older": self._neighbour(row, newer=False),
        }

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and our own."""
        return [
            self.own_url("<int:pk>/reprocess/", self.reprocess_view, "reprocess"),
            self.own_url("<int:pk>/body/", self.body_view, "body"),
            *super().get_urls(),
        ]

    def reprocess_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reads it again; a rejected one is verified again first."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.may_reprocess(request) or outcome_text.reprocess_label(row) is None:
            raise PermissionDenied
        before = row.outcome
        log.note(
            actor_of(request),
            "reprocessed",
            REQUEST,
            subject_id=row.uid,
            name=f"{row.method} {row.subscription}",
            account_id=row.account_id,
        )
        try:
            row = reprocess.reprocess_request(row, also_former=True)
        except WebhookRequest.DoesNotExist:
            raise Http404("It was thrown away just now.") from None
        ok, text = outcome_text.after_reprocessing(before, row)
        return self.back_to(request, row, ok=ok, text=text)

    def body_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The exact bytes, as a file: never shown by the browser as what they claim to be."""
        row = self.row_or_404(request, str(pk))
        response = HttpResponse(bytes(row.body), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="request-{row.uid}.bin"'
        return response

    def _neighbour(self, row: WebhookRequest, *, newer: bool) -> str | None:
        """The next request of the same subscription."""
        rows = WebhookRequest.objects.filter(subscription_id=row.subscription_id).only("pk")
        if newer:
            found = rows.filter(pk__gt=row.pk).order_by("pk").first()
        else:
            found = rows.filter(pk__lt=row.pk).order_by("-pk").first()
        return self.page_url(found) if found else None


@admin.register(Event)
class EventAdmin(PageAdmin[Event]):
    """Events."""

    list_template = "events/list.html"
    detail_template = "events/detail.html"
    list_title = "Events"
    list_intro = "What happened at the providers: read out of the requests, in one form for all, each once."
    search_hint = "Part of a path, name, person, type or id"
    filters = (
        Filter("provider", "Provider", of_provider, provider_choices),
        Filter("account", "Account", related("account"), account_choices),
        Filter("subscription", "Subscription", related("subscription"), subscription_choices),
        Filter("action", "Action", among("action", lambda: ACTIONS), lambda: ACTIONS),
        Filter("type", "Type", of_pattern, placeholder="such as fs:*"),
        *time_filters(time_range.events_since, time_range.events_until),
    )

    def rows(self, request: HttpRequest) -> QuerySet[Event]:
        """Without the data."""
        rows = self.get_queryset(request).select_related("subscription", "account")
        return rows.only(
            *("type", "action", "resource_type", "resource", "actor", "occurred_at", "received_at", "duplicates"),
            *("provider", "subscription__name", "subscription__uid", "account__name"),
        )

    def search(self, rows: QuerySet[Event], words: str) -> QuerySet[Event]:
        """By what stands in it, among the newest that fit the filters; or by our id."""
        with suppress(ValueError):  # not everything that is searched for is an id
            return rows.filter(uid=UUID(words))
        oldest = rows.order_by("-pk").values_list("pk", flat=True)[SEARCHED - 1 : SEARCHED].first()
        rows = rows if oldest is None else rows.filter(pk__gte=oldest)
        return rows.filter(
            Q(resource__icontains=words)
            | Q(actor__icontains=words)
            | Q(type__icontains=words)
            | Q(provider_event_id=words)
        )

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """How far a search looks."""
        return {"searched": f"{SEARCHED:,}" if request.GET.get("q") else None}

    def detail_rows(self, request: HttpRequest) -> QuerySet[Event]:
        """With where it belongs; never a body or a secret."""
        rows = self.get_queryset(request).select_related("subscription", "account", "request")
        return rows.defer(
            *("request__body", "request__headers", "request__sealed_headers"),
            *("subscription__secrets", "account__credentials"),
        )

    def detail_context(self, request: HttpRequest, row: Event) -> dict[str, Any]:
        """Its kind in words, and its neighbours."""
        kind = next((item for item in _event_types(row) if item.name == row.type), None)
        mine = Event.objects.filter(subscription_id=row.subscription_id).only("pk")
        newer = mine.filter(pk__gt=row.pk).order_by("pk").first()
        older = mine.filter(pk__lt=row.pk).order_by("-pk").first()
        return {
            "kind": kind,
            "sees_requests": request.user.has_perm("events.view_webhookrequest"),
            "newer": self.page_url(newer) if newer else None,
            "older": self.page_url(older) if older else None,
        }


def _event_types(row: Event) -> Sequence[EventType]:
    plugin = registry.all_providers().get(row.provider)
    return plugin.event_types if plugin else ()


def _parameters(row: WebhookRequest, headers: Sequence[tuple[str, str]], body: bytes) -> list[tuple[str, str]]:
    """The names and values of the query and of a form, decoded."""
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    form = body[:MOST_SHOWN].decode("utf-8", "replace") if kind.startswith(FORM) else ""
    try:
        return [
            pair
            for text in (row.query, form)
            for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        ]
    except ValueError:  # more than that is of no use on a page; the raw text has everything
        return []


def _body_context(body: bytes) -> dict[str, Any]:
    """How a body is shown: as JSON where it is, as text where it is readable, else only its size."""
    context: dict[str, Any] = {"body_size": len(body), "body_cut": len(body) > MOST_SHOWN}
    try:
        text = body[:MOST_SHOWN].decode("utf-8", errors="strict" if len(body) <= MOST_SHOWN else "ignore")
    except UnicodeDecodeError:
        return {**context, "body_binary": body[:256].hex(" ")}
    context["body_text"] = text
    if body and len(body) <= MOST_PARSED:
        try:
            context["body_json"] = {"value": json.loads(body)}
        except (ValueError, RecursionError):
            context["body_is_json"] = False
    return context
