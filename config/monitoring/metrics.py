"""/metrics in Prometheus's text format. It makes few queries, none of them over the large tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db import DatabaseError
from django.db.models import Count, Min, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from events.models import FeedEnd, Purge, WebhookRequest
from events.receiver.spool.status import spool_status
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Heartbeat, Problem, ProblemKind, ProblemState, State, Subscription


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics. They contain no names, IDs or secrets; still, only monitoring should reach this path."""
    registry = CollectorRegistry()
    registry.register(_Installation())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Installation(Collector):
    def collect(self) -> Iterator[Metric]:
        """Collect the metrics that need no database first: they matter most when the database is down."""
        yield from _spool()
        try:
            yield from list(self._database_metrics())
            database_up = 1
        except DatabaseError:
            database_up = 0
        yield GaugeMetricFamily("hookkeeper_database_up", "Whether the database answers.", database_up)

    def _database_metrics(self) -> Iterator[Metric]:
        subscriptions = Subscription.objects.order_by().values_list("state").annotate(number=Count("pk"))
        yield _gauge("subscriptions", "Subscriptions by state.", "state", dict(subscriptions), State.values)
        accounts = ProviderAccount.objects.order_by().values_list("status").annotate(number=Count("pk"))
        yield _gauge("accounts", "Accounts by status.", "status", dict(accounts), AccountStatus.values)
        yield _problems()
        ages = {row.name: (timezone.now() - row.at).total_seconds() for row in Heartbeat.objects.all()}
        yield _gauge("heartbeat_age_seconds", "Seconds since the last heartbeat.", "name", ages, ages)
        waiting = WebhookRequest.objects.unprocessed().order_by()
        yield GaugeMetricFamily(
            "hookkeeper_requests_waiting", "Stored requests that are not normalized yet.", waiting.count()
        )
        position = FeedEnd.objects.values_list("position", flat=True).first()  # the event itself may be purged
        yield GaugeMetricFamily("hookkeeper_feed_position", "Position of the newest event in the feed.", position or 0)
        yield from _retention()


def _retention() -> Iterator[Metric]:
    """Return what retention has purged and the age of the oldest request, as of each account's last purge."""
    totals = Purge.objects.aggregate(
        requests=Sum("purged_requests"), events=Sum("purged_events"), oldest=Min("kept_since")
    )
    purged = CounterMetricFamily("hookkeeper_purged", "Rows purged because of their age.", labels=["what"])
    for table in ("requests", "events"):
        purged.add_metric([table], totals[table] or 0)
    yield purged
    age = (timezone.now() - totals["oldest"]).total_seconds() if totals["oldest"] else 0
    yield GaugeMetricFamily("hookkeeper_oldest_kept_seconds", "Age of the oldest stored request.", age)


def _spool() -> Iterator[Metric]:
    status = spool_status()
    age = (timezone.now() - status.oldest).total_seconds() if status.oldest else 0
    name = "hookkeeper_spool"
    yield GaugeMetricFamily(
        f"{name}_requests", "Requests in this machine's spool, waiting for the database.", status.requests
    )
    yield GaugeMetricFamily(f"{name}_bytes", "Size of the spool.", status.size)
    yield GaugeMetricFamily(f"{name}_age_seconds", "Age of the oldest request in the spool.", age)
    yield GaugeMetricFamily(f"{name}_refused", "Requests that the database refused.", status.refused)
    yield GaugeMetricFamily(f"{name}_damaged", "Damaged spool files that are kept.", status.damaged)
    yield GaugeMetricFamily(f"{name}_ready", "Whether the spool can take a request.", 0 if status.error else 1)


def _problems() -> Metric:
    """Return the active problems by kind and state."""
    family = GaugeMetricFamily("hookkeeper_problems", "Problems by kind and state.", labels=["kind", "state"])
    rows = Problem.objects.active().order_by().values_list("kind", "state").annotate(number=Count("pk"))
    counts = {(kind, state): number for kind, state, number in rows}
    for kind in ProblemKind.values:
        for state in (ProblemState.OPEN.value, ProblemState.ACKNOWLEDGED.value):
            family.add_metric([kind, state], counts.get((kind, state), 0))
    return family


def _gauge(name: str, text: str, label: str, counts: dict[str, float], values: Iterable[str]) -> Metric:
    family = GaugeMetricFamily(f"hookkeeper_{name}", text, labels=[label])
    for value in values:
        family.add_metric([value], counts.get(value, 0))
    return family
