"""Stored requests that wait to be normalized, as the plug-in and the writing code need them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast

from events.models import Outcome, WebhookRequest, WebhookRequestQuerySet
from events.storage.request_row import RequestRow
from providers.contract.parsing import InboundRequest
from subscriptions.models import Subscription

COLUMNS = (
    "subscription_id",
    "pk",
    "uid",
    "account_id",
    "outcome",
    "method",
    "received_at",
    "query",
    "body",
)


@dataclass(slots=True)
class PendingRequest:
    """The columns of a stored request that normalizing needs.

    The headers are still JSON text, so that unreadable headers fail this request only and not the whole batch.
    """

    subscription: Subscription = field(repr=False)
    pk: int
    uid: UUID
    account_id: int
    outcome: str
    method: str
    received_at: datetime
    query: str
    body: bytes = field(repr=False)
    headers: str = field(repr=False)

    @property
    def subscription_id(self) -> int:
        """The primary key of the subscription."""
        return self.subscription.pk

    def inbound(self) -> InboundRequest:
        """Return the call for the plug-in, with markers instead of secret header values.

        Raises ValueError if the stored headers cannot be read.
        """
        return InboundRequest(
            method=self.method,
            url=self.subscription.callback_url,
            query=self.query,
            headers=tuple((name, value) for name, value in json.loads(self.headers)),
            body=bytes(self.body),
            received_at=self.received_at,
            former_urls=tuple(self.subscription.former_callback_urls),
        )


def load_requests(requests: WebhookRequestQuerySet) -> list[PendingRequest]:
    """Load these requests from the database, in the queryset's order."""
    rows: list[Any] = list(requests.values_list(*COLUMNS, Cast("headers", TextField())))
    subscriptions = _subscriptions({subscription_id for subscription_id, *_ in rows})
    return [PendingRequest(subscriptions[subscription_id], *rest) for subscription_id, *rest in rows]


def from_rows(rows: Sequence[RequestRow]) -> list[PendingRequest]:
    """Return those of the rows just stored that are still `received`, without reading their content again."""
    received = WebhookRequest.objects.filter(uid__among=frozenset(row.uid for row in rows), outcome=Outcome.RECEIVED)
    keys = dict(received.order_by().values_list("uid", "pk"))
    subscriptions = _subscriptions({row.subscription_id for row in rows})
    return [
        PendingRequest(
            subscription=subscriptions[row.subscription_id],
            pk=keys[row.uid],
            uid=row.uid,
            account_id=row.account_id,
            outcome=row.outcome,
            method=row.method,
            received_at=row.received_at,
            query=row.query,
            body=row.body,
            headers=row.headers,
        )
        # If the database hung, a row may have been both stored and spooled, and is passed in twice: use it once.
        for row in {row.uid: row for row in rows}.values()
        if row.uid in keys
    ]


def _subscriptions(keys: Collection[int]) -> dict[int, Subscription]:
    """Load subscriptions without secrets: normalizing needs none, so a lost encryption key does not stop it."""
    return Subscription.objects.select_related("account").defer("secrets", "account__credentials").in_bulk(keys)
