"""Storing a request: the exact bytes of the body, and secrets only encrypted or not at all."""

from __future__ import annotations

import json

import pytest
from django.db import connection, transaction

from events.models import Outcome, WebhookRequest
from events.storage.columns import column_key, column_text
from providers.contract.capabilities import Proof
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, fresh, run_concurrently, store_request

pytestmark = pytest.mark.django_db


def test_exact_bytes_are_stored_and_the_secret_is_masked(hook: Subscription) -> None:
    body = b'\xef\xbb\xbf{"a" :1,\r\n"b":"\xff"}\x00'
    request = fresh(store_request(hook, body, headers=(("X-Secret", SECRET), ("X-Other", "v\xe9"))))
    assert bytes(request.body) == body
    assert request.headers == [["X-Secret", "***"], ["X-Other", "v\xe9"]]
    assert request.sealed_headers == {}
    assert (request.outcome, request.verification) == (Outcome.RECEIVED, "verified")
    assert request.account_id == hook.account_id
    assert request.uid.version == 7


def test_a_rejected_request_stores_sensitive_headers_encrypted_only(hook: Subscription) -> None:
    request = store_request(hook, b"{}", headers=(("Host", "x"), ("Authorization", "Bearer wrong-one")))
    with connection.cursor() as cursor:
        cursor.execute("SELECT headers, sealed_headers FROM events_webhookrequest WHERE id = %s", [request.pk])
        headers, sealed = cursor.fetchone()
    assert json.loads(headers) == [["Host", "x"], ["Authorization", "***"]]
    assert "wrong-one" not in sealed
    assert fresh(request).sealed_headers == {"1": "Bearer wrong-one"}
    assert fresh(request).inbound(unsealed=True).headers[1] == ("Authorization", "Bearer wrong-one")
    assert (request.outcome, request.reason) == (Outcome.REJECTED, "No header carries the secret.")


def test_an_accepted_request_stores_other_sensitive_headers_encrypted(hook: Subscription) -> None:
    request = fresh(store_request(hook, b"", headers=(("X-Secret", SECRET), ("Cookie", "session=1"))))
    assert request.headers == [["X-Secret", "***"], ["Cookie", "***"]]
    assert request.sealed_headers == {"1": "session=1"}


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", f"a=1; key={SECRET}; b=2"])
def test_a_header_that_contains_the_secret_is_stored_encrypted_only(hook: Subscription, value: str) -> None:
    request = fresh(store_request(hook, b"", headers=(("X-Secret", SECRET), ("X-Debug", value), ("X-Other", "1"))))
    assert request.headers == [["X-Secret", "***"], ["X-Debug", "***"], ["X-Other", "1"]]
    assert request.sealed_headers == {"1": value}
    rejected = fresh(store_request(hook, b"", headers=(("X-Debug", value),)))
    assert (rejected.outcome, rejected.headers) == (Outcome.REJECTED, [["X-Debug", "***"]])
    assert rejected.inbound(unsealed=True).headers == (("X-Debug", value),)


@pytest.mark.django_db(transaction=True)
def test_storing_commits_on_its_own_and_refuses_an_outer_transaction(hook: Subscription) -> None:
    store_request(hook, b"{}")
    seen = run_concurrently(lambda: WebhookRequest.objects.count())
    assert seen == [1]
    with transaction.atomic(), pytest.raises(RuntimeError):
        store_request(hook, b"{}")


def test_a_request_without_authentication_is_accepted_as_not_verifiable(hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(proof=Proof.URL)
    request = store_request(hook, b"", headers=())
    assert (request.outcome, request.verification) == (Outcome.RECEIVED, "not_verifiable")


def test_column_text_replaces_and_cuts_and_column_key_hashes() -> None:
    assert column_text("a\x00\ud800b" + "c" * 9, 5) == "a\ufffd\ufffdbc"
    assert column_key("short", 5) == "short"
    assert column_key("longer", 5).startswith("sha256:")
