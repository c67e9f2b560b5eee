"""A process with other ENCRYPTION_KEYS than the database's does not start, is not ready, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from config.celery import app
from config.worker.scheduler import SchedulerStep
from events.tasks import purge
from providers.accounts import encryption_keys
from providers.accounts.encryption_keys import WrongKeys
from providers.models import AccountStatus, KeyCanary, ProviderAccount
from subscriptions.models import Heartbeat
from subscriptions.tasks import beat_heartbeat, sweep

pytestmark = pytest.mark.django_db
OTHER = Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def _not_verified(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(encryption_keys, "_verified", set())
    yield
    encryption_keys._verified.clear()


def test_the_first_process_creates_the_canary_and_others_must_open_it(settings: Settings) -> None:
    encryption_keys.require()
    encryption_keys.require()
    assert KeyCanary.objects.get().value == encryption_keys.TEXT
    right = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = (OTHER,)
    with pytest.raises(WrongKeys, match="ENCRYPTION_KEYS"):
        encryption_keys.require()
    settings.ENCRYPTION_KEYS = (OTHER, *right)
    encryption_keys.require()


def test_without_a_canary_the_stored_credentials_decide(settings: Settings, account: ProviderAccount) -> None:
    KeyCanary.objects.all().delete()
    settings.ENCRYPTION_KEYS = (OTHER,)
    with pytest.raises(WrongKeys):
        encryption_keys.require()
    assert not KeyCanary.objects.exists()


def test_a_worker_with_other_keys_runs_no_task_and_spoils_no_account(
    settings: Settings, account: ProviderAccount
) -> None:
    encryption_keys.require()
    settings.ENCRYPTION_KEYS = (OTHER,)
    for task in (sweep, beat_heartbeat, purge):
        with pytest.raises(WrongKeys):
            task()
    assert ProviderAccount.objects.values_list("status", "status_reason").get() == (AccountStatus.UNCHECKED, "")
    assert not Heartbeat.objects.exists()


def test_a_worker_with_other_keys_does_not_start(settings: Settings) -> None:
    encryption_keys.require()
    settings.ENCRYPTION_KEYS = (OTHER,)
    step = SchedulerStep(app)
    with pytest.raises(SystemExit):
        step.start(app)
    assert step.scheduler is None


def test_a_process_with_other_keys_is_not_ready(settings: Settings, client: Client) -> None:
    encryption_keys.require()
    assert client.get("/readyz").json()["checks"]["encryption_keys"]["status"] == "ok"
    settings.ENCRYPTION_KEYS = (OTHER,)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "ENCRYPTION_KEYS" in response.json()["checks"]["encryption_keys"]["detail"]


@pytest.mark.parametrize(
    "command", [("reconcile",), ("reprocess", "--all"), ("confirm_public_url",), ("create_api_token", "ci")]
)
def test_commands_that_write_refuse_to_run(settings: Settings, command: tuple[str, ...]) -> None:
    encryption_keys.require()
    settings.ENCRYPTION_KEYS = (OTHER,)
    with pytest.raises(WrongKeys):
        call_command(*command)


def test_lost_keys_can_be_replaced(settings: Settings, tmp_path: Path) -> None:
    encryption_keys.require()
    settings.ENCRYPTION_KEYS = (OTHER,)
    call_command("accept_encryption_keys")
    encryption_keys.require()
