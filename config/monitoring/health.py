"""/livez and /readyz: whether this process runs, and whether the installation can receive webhooks."""

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

from events.receiver.spool.status import spool_status
from providers.accounts import encryption_keys
from providers.accounts.encryption_keys import WrongKeys
from subscriptions.models import Heartbeat

Status = Literal["ok", "degraded", "unavailable"]
HEARTBEAT_LIMIT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    status: Status
    detail: str


@require_safe
@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer 200 as long as this process can answer."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if this process can receive webhooks, else 503. Without a worker, the status is only degraded."""
    checks = run_checks()
    status = worst_status(checks)
    body = {"status": status, "checks": {name: asdict(check) for name, check in checks.items()}}
    return JsonResponse(body, status=503 if status == "unavailable" else 200)


def run_checks() -> dict[str, Check]:
    """Run all checks and return the results by name. Without a database, only the spool can be checked."""
    waiting = spool()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return {
            "database": Check("ok", connection.vendor),
            "migrations": migrations(),
            "encryption_keys": keys(),
            "worker": heartbeat("worker"),
            "scheduler": heartbeat("scheduler"),
            "spool": waiting,
        }
    except DatabaseError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return {"database": Check("unavailable", f"The database does not answer: {reason}"), "spool": waiting}


def worst_status(checks: dict[str, Check]) -> Status:
    """Return the worst status among the checks."""
    statuses = {check.status for check in checks.values()}
    order: tuple[Status, ...] = ("unavailable", "degraded", "ok")
    return next(status for status in order if status in statuses)


def migrations() -> Check:
    """Check that all migrations of this version are applied."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        return Check("unavailable", f"{len(missing)} migrations are not applied; run `python manage.py migrate`.")
    return Check("ok", "All migrations are applied.")


def keys() -> Check:
    """Check that ENCRYPTION_KEYS are those of the database."""
    try:
        right = encryption_keys.are_right()
    except DatabaseError:  # the table is missing; the check of the migrations says so
        right = True
    return Check("ok", "The keys are right.") if right else Check("unavailable", str(WrongKeys()))


def spool() -> Check:
    """Check whether requests wait in this machine's spool, and whether it can take more."""
    status = spool_status()
    return Check("ok" if status.is_ok else "degraded", status.message)


def heartbeat(name: str) -> Check:
    """Check that the worker or the scheduler, by `name`, recorded a heartbeat recently."""
    try:
        row = Heartbeat.objects.filter(name=name).first()
    except DatabaseError:  # the table is missing; the check of the migrations says so
        row = None
    if row is None:
        return Check("degraded", f"The {name} has not sent a heartbeat yet.")
    age = timezone.now() - row.at
    seconds = round(age.total_seconds())
    if age > HEARTBEAT_LIMIT:
        return Check("degraded", f"The last heartbeat of the {name} was {seconds} s ago.")
    return Check("ok", f"The {name} sent a heartbeat {seconds} s ago.")
