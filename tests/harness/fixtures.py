"""Fixtures: a quiet sandbox in this process, and accounts and subscriptions that use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
import requests
import time_machine
from django.core.management.color import Style
from django.core.management.commands import flush
from django.core.management.sql import sql_flush
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, receiver_probe
from subscriptions.models import Subscription
from subscriptions.problems import checks

RegisterRemote = Callable[[str], str]

CONFIG = {"event_types": ["fs:*", "link:create"], "paths": ["/Shared/Finance"]}


@dataclass(frozen=True)
class Control:
    """The sandbox's control API, for one provider."""

    url: str
    slug: str

    def post(self, command: str, **body: object) -> dict[str, Any]:
        response = requests.post(f"{self.url}/_sandbox/{self.slug}/{command}", json=body, timeout=10)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def state(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.url}/_sandbox/{self.slug}/state", timeout=10).json())

    def remotes(self) -> list[dict[str, Any]]:
        return list(self.state()["remote"])

    def calls(self, method: str | None = None) -> list[dict[str, Any]]:
        return [call for call in self.state()["calls"] if method in (None, call["method"])]


@contextmanager
def later(seconds: float = 31.0) -> Iterator[None]:
    """Continue after so many seconds: by default, when it is believed that a registration is gone."""
    with time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=True):
        yield


@pytest.fixture(scope="session", autouse=True)
def keep_permissions() -> Iterator[None]:
    """Keep content types and permissions when the tables are emptied after a test with transactions.

    Django would write them again after each such test, which takes longer than most of the tests.
    """

    def sql_flush_most(style: Style, connection: BaseDatabaseWrapper, **options: bool) -> list[str]:
        table_names = connection.introspection.django_table_names
        kept = {"django_content_type", "auth_permission"}

        def most_tables(**filters: bool) -> list[str]:
            return [name for name in table_names(**filters) if name not in kept]

        with mock.patch.object(connection.introspection, "django_table_names", most_tables):
            return sql_flush(style, connection, **options)

    with mock.patch.object(flush, "sql_flush", sql_flush_most), mock.patch.object(flush, "emit_post_migrate_signal"):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End what threads left connected, because PostgreSQL removes no database that is in use."""
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(autouse=True)
def just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the process has just started, so that the missing worker is not a problem yet."""
    monkeypatch.setattr(checks.installation, "_started", time.monotonic())


@pytest.fixture
def sandbox(settings: Settings) -> Iterator[Sandbox]:
    with Sandbox(port=0, stream_per_minute=0, seed=1) as running:
        settings.SANDBOX_URL = running.url
        yield running


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    egnyte = Control(sandbox.url, "egnyte-connect")
    egnyte.post("options", calls_per_second=None)
    return egnyte


@pytest.fixture
def account(db: None, sandbox: Sandbox, control: Control) -> ProviderAccount:
    login = sandbox.logins("egnyte-connect")[0]
    return accounts.add_account(
        provider="egnyte-connect",
        name="Spare",
        settings={**login["settings"], "calls_per_second": 100},
        credentials=login["credentials"],
        by="staff:ann",
    )


@pytest.fixture
def subscription(account: ProviderAccount) -> Subscription:
    return desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Finance")


def register_without_us(account: ProviderAccount, url: str) -> str:
    """Register a webhook at Egnyte as another program would. Return its ID."""
    response = requests.post(
        f"{account.settings['base_url']}/pubapi/v1/webhooks",
        json={"url": url, "eventType": ["fs:add_file"], "authHeader": "x"},
        headers={"Authorization": f"Bearer {account.credentials['access_token']}"},
        timeout=5,
    )
    assert response.status_code == 201, response.text
    return str(response.json()["webhookId"])


@pytest.fixture
def register_remote(account: ProviderAccount) -> RegisterRemote:
    """Return a function that registers a webhook at the provider without Hookkeeper, and returns its ID."""
    return partial(register_without_us, account)


@pytest.fixture
def orphan(register_remote: RegisterRemote, settings: Settings) -> str:
    """Register a webhook with a callback URL of ours that belongs to no subscription."""
    return register_remote(f"{settings.PUBLIC_URL}/hooks/a-token-that-is-no-longer-in-use")


@pytest.fixture
def foreign(register_remote: RegisterRemote) -> str:
    """Register a webhook that calls another system."""
    return register_remote("https://elsewhere.example/in")


@pytest.fixture
def receiver_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that our receiver answers, since no web server runs."""
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: None)
