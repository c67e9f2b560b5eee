"""When each lease is renewed, and what happened last time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import URLPattern

from providers.dashboard.base import PageAdmin
from providers.filters import read_typed_time, row_number
from subscriptions.models import Managed, Operation, Subscription
from subscriptions.planning.steps import StepAction

PAGE = 50
RENEWING = (StepAction.RENEW, StepAction.REPLACE, StepAction.REGISTER)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A subscription with a lease, and the last step that began one or tried to."""

    row: Subscription
    last: Operation | None

    @property
    def granted(self) -> timedelta | None:
        """How long the provider granted it last."""
        return self.row.granted


def with_lease() -> QuerySet[Subscription]:
    """Subscriptions that are to be renewed some time, the next one first."""
    rows = Subscription.objects.filter(
        deleted_at=None, present=True, managed=Managed.API, renew_at__isnull=False
    ).order_by("renew_at", "pk")
    return rows.select_related("account").defer("account__credentials", "secrets", "remote_config", "config")


def last_renewals(rows: Sequence[Subscription]) -> dict[int, Operation]:
    """The last step of each that began a lease, or tried to. One index look-up each, however many operations there
    are."""
    newest = Operation.objects.filter(subscription=OuterRef("pk"), action__in=RENEWING).order_by("-pk").values("pk")[:1]
    found = Subscription.objects.filter(pk__in=[row.pk for row in rows]).annotate(newest=Subquery(newest))
    keys = [key for key in found.values_list("newest", flat=True) if key is not None]
    operations = Operation.objects.filter(pk__in=keys).defer("request", "response")
    return {operation.subscription_id: operation for operation in operations}


class RenewalPages(PageAdmin[Subscription]):
    """The page `renewals/`."""

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and our own."""
        return [self.own_url("renewals/", self.renewals_view, "renewals"), *super().get_urls()]

    def renewals_view(self, request: HttpRequest) -> HttpResponse:
        """One page, by key: nothing is counted."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        after = _after(request.GET)
        rows = with_lease()
        if after is not None:
            at, pk = after
            rows = rows.filter(Q(renew_at__gt=at) | Q(renew_at=at, pk__gt=pk))
        found = list(rows[: PAGE + 1])
        shown = found[:PAGE]
        last = last_renewals(shown)
        context = {
            "renewals": [Renewal(row, last.get(row.pk)) for row in shown],
            "first": after is None,
            "later": _query(shown[-1]) if len(found) > PAGE else None,
            "sees_operations": request.user.has_perm("subscriptions.view_operation"),
        }
        return self.render(request, "subscriptions/renewals.html", "Renewals", context, parent=True)


def _after(asked: QueryDict) -> tuple[datetime, int] | None:
    """The row that the last page ended at; the first page for what is not understood."""
    try:
        at, _, pk = str(asked.get("after", "")).partition("_")
        return read_typed_time(at), row_number(pk)
    except ValidationError:
        return None


def _query(row: Subscription) -> str:
    query = QueryDict(mutable=True)
    query["after"] = f"{row.renew_at.isoformat()}_{row.pk}" if row.renew_at else ""
    return f"?{query.urlencode()}"
