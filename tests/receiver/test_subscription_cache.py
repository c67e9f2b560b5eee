"""What the receiver knows without asking the database: fresh within a second, and never the reason for a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from events.models import WebhookRequest
from events.receiver import subscription_cache
from events.receiver.handler import prepare_to_receive
from events.receiver.subscription_cache import (
    LookupUnavailable,
    ReceivableSubscription,
    SubscriptionCache,
    receivable_subscriptions,
)
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own(settings: Settings, transactional_db: None) -> Iterator[SubscriptionCache]:
    settings.RECEIVE_IN_THREADS = True
    running = SubscriptionCache()
    yield running
    running.stop()


def found(own: SubscriptionCache, subscription: Subscription) -> ReceivableSubscription:
    subscription_cache = own.find(subscription.token)
    assert subscription_cache is not None
    return subscription_cache


def away(own: SubscriptionCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(own, "read", fail)


def test_knows_all_that_receiving_takes(own: SubscriptionCache, hook: Subscription, fake: FakeProvider) -> None:
    Subscription.objects.update(former_callback_urls=["https://old.example/hooks/x"])
    subscription_cache = found(own, hook)
    assert (
        subscription_cache.id,
        subscription_cache.uid,
        subscription_cache.account_id,
        subscription_cache.plugin,
    ) == (hook.pk, hook.uid, hook.account_id, fake)
    assert (subscription_cache.secrets, subscription_cache.former_urls) == ((SECRET,), ("https://old.example/hooks/x",))
    assert subscription_cache.callback_url == hook.callback_url
    assert subscription_cache.sensitive_headers == fake.sensitive_headers(subscription_cache.settings)  # type: ignore[arg-type]


def test_neither_secrets_nor_tokens_are_written_out(own: SubscriptionCache, hook: Subscription) -> None:
    text = repr(found(own, hook))
    assert SECRET not in text
    assert hook.token not in text


def test_a_call_costs_no_query(hook_client: Client, hook: Subscription, receiver_threads: None) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            answer = hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": SECRET})
        assert (answer.status_code, len(queries)) == (200, 0)
    assert WebhookRequest.objects.count() == 2


def test_a_subscription_that_is_gone_is_404_at_once(
    hook_client: Client, hook: Subscription, receiver_threads: None
) -> None:
    path = f"/hooks/{hook.token}"
    assert hook_client.post(path, b"{}", content_type="text/plain", headers={"X-S": SECRET}).status_code == 200
    Subscription.objects.update(deleted_at=timezone.now())
    assert hook_client.post(path, b"{}", content_type="text/plain", headers={"X-S": "wrong"}).status_code == 404
    assert WebhookRequest.objects.count() == 1


def test_whoever_is_about_to_receive_knows_them_before_the_first_call(
    hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("thread_priority.lower_wakeup_priority", "thread_priority.shorten_switch_interval", "drainer.start"):
        monkeypatch.setattr(f"events.receiver.handler.{name}", lambda: None)
    receivable_subscriptions.reset()
    prepare_to_receive()
    assert set(receivable_subscriptions._subscriptions) == {hook.token}


def test_a_new_subscription_is_known_at_once(own: SubscriptionCache, hook: Subscription) -> None:
    found(own, hook)
    second = Subscription.objects.create(account=hook.account, secrets=["s"], due_at=None)
    assert found(own, second).id == second.pk


def test_a_change_is_known_within_two_seconds(own: SubscriptionCache, hook: Subscription) -> None:
    before = found(own, hook)
    Subscription.objects.update(secrets=["fresh", SECRET])
    deadline = time.monotonic() + 2
    while found(own, hook).secrets != ("fresh", SECRET):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert before.secrets == (SECRET,)
    ProviderAccount.objects.update(settings={"base_url": "https://other.example"})
    deadline = time.monotonic() + 2
    while getattr(found(own, hook).settings, "base_url", None) != "https://other.example":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_deleted_one_is_forgotten(own: SubscriptionCache, hook: Subscription) -> None:
    found(own, hook)
    Subscription.objects.update(deleted_at=hook.created_at)
    assert own.refresh()
    assert own.find(hook.token) is None


def test_a_fresh_secret_is_never_refused(hook_client: Client, hook: Subscription, receiver_threads: None) -> None:
    for number in range(5):
        secret = f"secret-{number}"
        Subscription.objects.update(secrets=[secret])
        answer = hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": secret})
        assert answer.status_code == 200


def test_a_secret_that_is_known_a_moment_later_is_not_missed(
    hook_client: Client, hook: Subscription, receiver_threads: None
) -> None:
    Subscription.objects.update(secrets=[])
    assert hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain").status_code == 503
    Subscription.objects.update(secrets=["now"])
    answer = hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": "now"})
    assert answer.status_code == 200


def test_an_unknown_token_is_looked_for_once_a_second(
    own: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(own, hook)
    asked: list[bool] = []
    original = own.refresh

    def ask() -> bool:
        asked.append(True)
        return original()

    monkeypatch.setattr(own, "refresh", ask)
    for _ in range(10):
        assert own.find("nobody") is None
    assert len(asked) <= 2
    for number in range(subscription_cache.MAX_UNKNOWN_TOKENS + 5):
        own._remember_unknown(str(number))
    assert len(own._unknown_tokens) <= subscription_cache.MAX_UNKNOWN_TOKENS


def test_many_that_ask_share_a_read_and_few_wait(
    own: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(own, hook)
    reads: list[float] = []
    held = threading.Event()
    original = own.read

    def read() -> None:
        held.wait(1)
        reads.append(time.monotonic())
        original()

    monkeypatch.setattr(own, "read", read)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(own.refresh())) for _ in range(20)]
    for thread in threads:
        thread.start()
    while len(results) < 20 - subscription_cache.MAX_WAITING_THREADS:
        time.sleep(0.01)
    assert not any(results)  # no more than a few threads are held
    held.set()
    for thread in threads:
        thread.join()
    assert results.count(True) == subscription_cache.MAX_WAITING_THREADS
    assert len(reads) <= 3


def test_without_the_database_the_known_stay_and_nothing_else_can_be_told(
    own: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(own, hook)
    away(own, monkeypatch)
    assert found(own, hook).secrets == (SECRET,)
    with pytest.raises(LookupUnavailable):
        own.find("nobody")
    assert own.find_newer(found(own, hook)) is None


def test_a_process_that_never_saw_the_database_refuses_nobody(
    own: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        away(own, patch)
        with pytest.raises(LookupUnavailable):
            own.find(hook.token)
    found(own, hook)


def test_one_that_cannot_be_used_harms_no_other(
    own: SubscriptionCache, hook: Subscription, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ProviderAccount.objects.create(provider="gone", name="Gone")
    Subscription.objects.bulk_create(
        [Subscription(account=gone, token="T", callback_url="https://x.example/hooks/T", secrets=["s"])]
    )
    assert found(own, hook).id == hook.pk
    with pytest.raises(LookupUnavailable):
        own.find("T")
    assert "Nothing can be received for subscription" in caplog.text


def test_a_bug_of_ours_does_not_end_the_reading(
    own: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(own, "read", lambda: 1 / 0)
        with pytest.raises(LookupUnavailable):
            own.find(hook.token)
    assert any(record.exc_info for record in caplog.records)
    found(own, hook)
