"""/livez, /readyz, and the paths that bypass the middleware."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone

from events.receiver.spool.file import spool
from subscriptions.models import Heartbeat, Subscription
from tests.harness.receiving import make_row


def readyz(client: Client) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, response.json()


def test_livez_needs_no_database(client: Client) -> None:
    response = client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_ready_when_worker_and_scheduler_are_alive(client: Client) -> None:
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    status, body = readyz(client)
    assert (status, body["status"]) == (200, "ok")
    assert {name: check["status"] for name, check in body["checks"].items()} == {
        "database": "ok",
        "migrations": "ok",
        "encryption_keys": "ok",
        "worker": "ok",
        "scheduler": "ok",
        "spool": "ok",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("dead", ["worker", "scheduler"])
def test_a_dead_worker_or_scheduler_only_degrades_the_status(client: Client, dead: str) -> None:
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    Heartbeat.objects.filter(name=dead).update(at=timezone.now() - timedelta(seconds=31))
    status, body = readyz(client)
    assert (status, body["status"], body["checks"][dead]["status"]) == (200, "degraded", "degraded")


@pytest.mark.django_db
def test_a_missing_heartbeat_is_reported(client: Client) -> None:
    _, body = readyz(client)
    assert body["checks"]["worker"]["detail"] == "The worker has not sent a heartbeat yet."


def test_status_is_unavailable_without_a_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("connection refused\nwith details")

    monkeypatch.setattr(connection, "cursor", refuse)
    status, body = readyz(client)
    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["database"]["detail"] == "The database does not answer: connection refused"


def test_the_spool_is_reported_without_a_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, spool_folder: Path
) -> None:
    def refuse() -> None:
        raise DatabaseError("connection refused")

    row = make_row(Subscription(pk=1, account_id=1))
    spool.append([row, row])
    monkeypatch.setattr(connection, "cursor", refuse)
    status, body = readyz(client)
    assert (status, body["checks"]["spool"]) == (
        503,
        {
            "status": "degraded",
            "detail": "2 requests wait for the database. The oldest was received at 2026-01-02 03:04:05 UTC.",
        },
    )
    figures = client.get("/metrics").content.decode()
    assert "hookkeeper_spool_requests 2.0" in figures
    assert "hookkeeper_database_up 0.0" in figures


@pytest.mark.django_db
def test_status_is_unavailable_with_missing_migrations(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [object()])
    status, body = readyz(client)
    assert (status, body["checks"]["migrations"]["status"]) == (503, "unavailable")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_may_use_any_host_and_plain_http(client: Client, settings: Any, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200


def test_other_paths_refuse_a_foreign_host(client: Client) -> None:
    assert client.get("/admin/", headers={"host": "evil.example.com"}).status_code == 400


def test_the_front_page_leads_to_the_admin(client: Client) -> None:
    response = client.get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/")


@pytest.mark.django_db
def test_the_login_page_and_its_styles_are_served(client: Client) -> None:
    page = client.get("/admin/login/")
    assert page.status_code == 200
    assert "Hookkeeper" in page.content.decode()
    styles = client.get("/static/unfold/css/styles.css")
    styles.close()
    assert styles.status_code == 200
