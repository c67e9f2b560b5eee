"""The page that lists when each lease is renewed, and how its last renewal ended."""

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

PAGE_SIZE = 50
RENEWING = (StepAction.RENEW, StepAction.REPLACE, StepAction.REGISTER)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A subscription with a lease, and the last operation that started a lease or tried to."""

    row: Subscription
    last: Operation | None

    @property
    def granted(self) -> timedelta | None:
        """The length of the lease that the provider granted last."""
        return self.row.granted


def with_lease() -> QuerySet[Subscription]:
    """Return the subscriptions with a lease, next renewal first."""
    rows = Subscription.objects.filter(
        deleted_at=None, present=True, managed=Managed.API, renew_at__isnull=False
    ).order_by("renew_at", "pk")
    return rows.select_related("account").defer("account__credentials", "secrets", "remote_config", "config")


def last_renewals(rows: Sequence[Subscription]) -> dict[int, Operation]:
    """Return, by subscription, the last operation that started a lease or tried to.

    Takes one index lookup per row, whatever the number of operations.
    """
    newest = Operation.objects.filter(subscription=OuterRef("pk"), action__in=RENEWING).order_by("-pk").values("pk")[:1]
    subscriptions = Subscription.objects.filter(pk__in=[row.pk for row in rows]).annotate(newest=Subquery(newest))
    keys = [key for key in subscriptions.values_list("newest", flat=True) if key is not None]
    operations = Operation.objects.filter(pk__in=keys).defer("request", "response")
    return {operation.subscription_id: operation for operation in operations}


class RenewalPages(PageAdmin[Subscription]):
    """The page `renewals/`."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the page."""
        return [self.extra_url("renewals/", self.renewals_view, "renewals"), *super().get_urls()]

    def renewals_view(self, request: HttpRequest) -> HttpResponse:
        """Show one page of renewals, with keyset pagination."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        after = _after(request.GET)
        rows = with_lease()
        if after is not None:
            renew_at, pk = after
            rows = rows.filter(Q(renew_at__gt=renew_at) | Q(renew_at=renew_at, pk__gt=pk))
        page = list(rows[: PAGE_SIZE + 1])
        shown = page[:PAGE_SIZE]
        last = last_renewals(shown)
        context = {
            "renewals": [Renewal(row, last.get(row.pk)) for row in shown],
            "first": after is None,
            "later": _query(shown[-1]) if len(page) > PAGE_SIZE else None,
            "sees_operations": request.user.has_perm("subscriptions.view_operation"),
        }
        return self.render(request, "subscriptions/renewals.html", "Renewals", context, parent=True)


def _after(params: QueryDict) -> tuple[datetime, int] | None:
    """Return the key at which the previous page ended; None, for the first page, if it is missing or invalid."""
    try:
        renew_at, _, pk = str(params.get("after", "")).partition("_")
        return read_typed_time(renew_at), row_number(pk)
    except ValidationError:
        return None


def _query(row: Subscription) -> str:
    query = QueryDict(mutable=True)
    query["after"] = f"{row.renew_at.isoformat()}_{row.pk}" if row.renew_at else ""
    return f"?{query.urlencode()}"
