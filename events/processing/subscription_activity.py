"""Record on subscriptions that requests were accepted and when the last event arrived."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Case, DateTimeField, Q, Value, When
from django.utils import timezone

from events.models import Outcome
from events.processing.pending_request import PendingRequest
from events.processing.write_transaction import write_transaction
from subscriptions.models import Managed, Subscription


def record_accepted(subscription_id: int, received_at: datetime) -> None:
    """Record the first accepted request of a subscription.

    A manually managed subscription becomes active by it, so it is due for reconciliation at once.
    """
    rows = Subscription.objects.filter(pk=subscription_id, accepted_at=None)
    rows.filter(managed=Managed.MANUAL).update(accepted_at=received_at, due_at=timezone.now())
    rows.update(accepted_at=received_at)


def update_last_event_at(requests: Iterable[PendingRequest]) -> None:
    """Advance `last_event_at` of the requests' subscriptions, in one statement for the whole batch."""
    latest: dict[int, datetime] = {}
    for request in requests:
        if request.outcome in (Outcome.PROCESSED, Outcome.DUPLICATE):
            known = latest.get(request.subscription_id, request.received_at)
            latest[request.subscription_id] = max(known, request.received_at)
    if not latest:
        return
    times = Case(*(When(pk=key, then=Value(at)) for key, at in latest.items()), output_field=DateTimeField())
    with write_transaction():
        rows = Subscription.objects.filter(Q(last_event_at=None) | Q(last_event_at__lt=times), pk__in=latest)
        # A fixed order, so that two processes cannot deadlock. `no_key` does not block those who store requests.
        keys = list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
        Subscription.objects.filter(pk__in=keys).update(last_event_at=times)
