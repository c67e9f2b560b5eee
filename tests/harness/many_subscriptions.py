"""Many healthy subscriptions at a provider inside this process, and the cost of work on them.

The cost is measured in queries, calls and seconds.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import requests
import urllib3
from django.db import connection
from django.utils import timezone
from requests.adapters import HTTPAdapter

from providers.contract import registry
from providers.contract.address_guard import GuardedAdapter
from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import ExpirySetBy, Renewal, SecretMadeBy
from providers.contract.session import ProviderSession
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import KnownRemote, Subscription, callback_url_for
from subscriptions.reconciliation.backoff import next_due
from subscriptions.reconciliation.columns import set_values
from subscriptions.reconciliation.observed_state import observed_columns
from subscriptions.reconciliation.status import status_columns
from tests.harness.fake_provider import FakeProvider

GRANTED = timedelta(days=30)


class ListingProvider(FakeProvider):
    """A provider that lists the subscriptions of its accounts and counts the calls.

    With `details`, the list contains configs and URLs.
    """

    slug = "many"
    name = "Many"

    def __init__(self, *, details: bool) -> None:
        super().__init__()
        self.declare(
            can_list=True,
            list_has_details=details,
            reveals_url=True,
            can_update=True,
            can_set_status=True,
            renewal=Renewal.UPDATE,
            expiry_set_by=ExpirySetBy.PROVIDER,
            secret_made_by=SecretMadeBy.US,
        )
        self.calls = 0
        self.remotes_by_host: dict[str, list[RemoteSubscription]] = {}

    def origin(self, settings: Any) -> str:
        """Return an address that is never called; see `serving`."""
        return "https://many.example.test"

    def list_remote(self, session: ProviderSession[Any, Any]) -> tuple[RemoteSubscription, ...]:
        """List all with one call."""
        remotes: list[RemoteSubscription] = []
        for item in session.http.call("GET", f"{self.api_origin(session.settings)}/list").json():
            ends = datetime.fromtimestamp(item["ends"], UTC)
            brief = RemoteSubscription(remote_id=item["id"], status="enabled", enabled=True, expires_at=ends)
            has_details = self.capabilities.list_has_details
            remotes.append(replace(brief, config={}, url=item["url"]) if has_details else brief)
        return tuple(remotes)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer every call to a provider in this process."""

        def send(_: object, request: requests.PreparedRequest, **__: object) -> requests.Response:
            self.calls += 1
            remotes = self.remotes_by_host[urlsplit(request.url or "").hostname or ""]
            body = [{"id": item.remote_id, "url": item.url, "ends": timestamp_of(item.expires_at)} for item in remotes]
            raw = urllib3.HTTPResponse(io.BytesIO(json.dumps(body).encode()), status=200, preload_content=False)
            return HTTPAdapter().build_response(request, raw)

        with (
            mock.patch.dict(registry.all_providers(), {self.slug: self}),
            mock.patch.object(GuardedAdapter, "send", send),
        ):
            yield

    def fill(self, accounts: int, each: int) -> None:
        """Create accounts with healthy, reconciled subscriptions."""
        now = timezone.now()
        for number in range(accounts):
            host = f"{number}.many.example.test"
            account = ProviderAccount.objects.create(
                provider=self.slug,
                name=f"Account {number}",
                settings={"base_url": f"https://{host}"},
                status=AccountStatus.OK,
                synced_at=now,
                sync_due_at=now + timedelta(hours=1),
            )
            rows = [self._healthy(account, f"{number}-{index}", now) for index in range(each)]
            self.remotes_by_host[host] = [remote for _, remote in rows]
            created = Subscription.objects.bulk_create([row for row, _ in rows])
            KnownRemote.objects.bulk_create(
                KnownRemote(account=account, remote_id=row.remote_id or "", subscription=row, url=row.callback_url)
                for row in created
            )

    def _healthy(
        self, account: ProviderAccount, remote_id: str, now: datetime
    ) -> tuple[Subscription, RemoteSubscription]:
        row = Subscription(account=account, name=remote_id, remote_id=remote_id, secrets=["a-secret"])
        row.callback_url = callback_url_for(row.token)
        row.applied_generation, row.register_tried_at, row.last_reconciled_at = row.generation, now, now
        remote = RemoteSubscription(
            remote_id=remote_id,
            status="enabled",
            enabled=True,
            expires_at=(now + GRANTED).replace(microsecond=0),
            url=row.callback_url,
            config={},
        )
        set_values(row, observed_columns(row, [remote], now))
        set_values(row, status_columns(row, now))
        row.due_at = next_due(row, now)
        return row, remote


def timestamp_of(moment: datetime | None) -> float:
    """Return a time as a number, for JSON."""
    assert moment
    return moment.timestamp()


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a piece of work."""

    queries: int
    writes: int
    calls: int
    seconds: float


def cost_of(provider: ListingProvider, work: Callable[[], object]) -> Cost:
    """Do the work and return its cost."""
    queries = writes = 0

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal queries, writes
        queries += 1
        writes += sql.startswith(("INSERT", "UPDATE", "DELETE"))
        return execute(sql, params, many, context)

    calls, started = provider.calls, time.perf_counter()
    with connection.execute_wrapper(count):
        work()
    return Cost(queries, writes, provider.calls - calls, time.perf_counter() - started)


def make_all_due() -> None:
    """Make every account due for a sync."""
    ProviderAccount.objects.update(sync_due_at=timezone.now())
