"""Claims on rows, and secrets at rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from cryptography.fernet import Fernet
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from providers.db.encryption import Undecryptable, decrypt, encrypt
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Subscription
from tests.harness.fixtures import CONFIG


@pytest.fixture
def row(db: None) -> Subscription:
    account = accounts.add_account(
        provider="egnyte-connect",
        name="Acme",
        settings={"domain": "acme"},
        credentials={"access_token": "very-secret-token"},
        by="staff:ann",
    )
    return desired_state.subscribe(account, config=CONFIG, by="staff:ann")


def test_only_one_holder_claims_a_row(row: Subscription) -> None:
    assert row.claim("first")
    assert not row.claim("second")
    row.release("second")
    assert not row.claim("second"), "only the holder can release it"
    row.release("first")
    assert row.claim("second")


def test_an_expired_claim_cannot_be_prolonged(row: Subscription) -> None:
    assert row.claim("first", seconds=10)
    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        assert row.claim("second")
        assert not row.keep_claim("first")
        assert row.keep_claim("second")


def test_a_claim_made_before_a_clock_step_is_ignored(row: Subscription) -> None:
    assert row.claim("first")
    with time_machine.travel(timezone.now() - timedelta(hours=1)):
        assert row.claim("second")


def test_credentials_and_secrets_are_unreadable_in_the_database(row: Subscription) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM providers_provideraccount")
        credentials = cursor.fetchone()[0]
        cursor.execute("SELECT secrets FROM subscriptions_subscription")
        secrets = cursor.fetchone()[0]
    assert "very-secret-token" not in credentials
    assert row.secrets[0] not in secrets
    assert ProviderAccount.objects.get().credentials == {"access_token": "very-secret-token"}


def test_keys_can_be_rotated(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = (old,)
    token = encrypt("text")
    settings.ENCRYPTION_KEYS = (new, old)
    assert decrypt(token) == "text"
    assert decrypt(encrypt("new")) == "new"
    settings.ENCRYPTION_KEYS = (new,)
    with pytest.raises(Undecryptable, match="ENCRYPTION_KEYS"):
        decrypt(token)


def test_ids_are_uuid7_and_increase() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {item.version for item in ids} == {7}
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
