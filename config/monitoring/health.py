"""/livez and /readyz: whether this process runs, and whether the whole installation can do its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from events.receiver.spool import file
from subscriptions.models import Heartbeat

Status = Literal["ok", "degraded", "unavailable"]
HEARTBEAT_LIMIT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to know about it."""

    status: Status
    detail: str


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when webhooks can be received here, else 503. A dead worker only degrades: receiving goes on without it."""
    checks = examine()
    status = overall(checks)
    body = {"status": status, "checks": {name: asdict(check) for name, check in checks.items()}}
    return JsonResponse(body, status=503 if status == "unavailable" else 200)


def examine() -> dict[str, Check]:
    """Looks at everything. Without a database only the spool can be known."""
    waiting = spooled()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return {
            "database": Check("ok", connection.vendor),
            "migrations": migrations(),
            "worker": heartbeat("worker"),
            "scheduler": heartbeat("scheduler"),
            "spool": waiting,
        }
    except DatabaseError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return {"database": Check("unavailable", f"The database does not answer: {reason}"), "spool": waiting}


def overall(checks: dict[str, Check]) -> Status:
    """The worst of all."""
    found = {check.status for check in checks.values()}
    order: tuple[Status, ...] = ("unavailable", "degraded", "ok")
    return next(status for status in order if status in found)


def migrations() -> Check:
    """Whether the tables are those that this version of the code expects."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return Check("unavailable", f"{len(missing)} migrations are missing; run `python manage.py migrate`.")
    return Check("ok", "All are applied.")


def spooled() -> Check:
    """What waits in this machine's spool, and whether it could take something."""
    found = file.status()
    return Check("ok" if found.sound else "degraded", found.words)


def heartbeat(name: str) -> Check:
    """Whether the worker or the scheduler has given a sign of life lately."""
    try:
        row = Heartbeat.objects.filter(name=name).first()
    except DatabaseError:  # the table is missing; `migrations` says so
        row = None
    if row is None:
        return Check("degraded", f"The {name} has given no sign of life yet.")
    age = timezone.now() - row.at
    seconds = round(age.total_seconds())
    if age > HEARTBEAT_LIMIT:
        return Check("degraded", f"The {name} gave its last sign of life {seconds} s ago.")
    return Check("ok", f"The {name} gave a sign of life {seconds} s ago.")
