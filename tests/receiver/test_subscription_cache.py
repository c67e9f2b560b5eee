"""The cache of subscriptions: it is at most a second old, and stale data never causes a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
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
def cache(settings: Settings, transactional_db: None) -> Iterator[SubscriptionCache]:
    """Run a cache with its own thread."""
    settings.RECEIVE_IN_THREADS = True
    cache = SubscriptionCache()
    yield cache
    cache.stop()


def lookup(cache: SubscriptionCache, subscription: Subscription) -> ReceivableSubscription:
    """Return the cached subscription, which has to exist."""
    cached = cache.find(subscription.token)
    assert cached is not None
    return cached


def fail_reads(cache: SubscriptionCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every refresh fail, as during a database outage."""

    def fail() -> None:
        raise OperationalError("the database is unavailable")

    monkeypatch.setattr(cache, "read", fail)


def test_cache_has_everything_that_receiving_needs(
    cache: SubscriptionCache, hook: Subscription, fake: FakeProvider
) -> None:
    Subscription.objects.update(former_callback_urls=["https://old.example/hooks/x"])
    cached = lookup(cache, hook)
    assert (cached.id, cached.uid, cached.account_id, cached.plugin) == (hook.pk, hook.uid, hook.account_id, fake)
    assert (cached.secrets, cached.former_urls) == ((SECRET,), ("https://old.example/hooks/x",))
    assert cached.callback_url == hook.callback_url
    assert cached.sensitive_headers == fake.sensitive_headers(cached.settings)  # type: ignore[arg-type]


def test_repr_has_neither_secrets_nor_tokens(cache: SubscriptionCache, hook: Subscription) -> None:
    text = repr(lookup(cache, hook))
    assert SECRET not in text
    assert hook.token not in text


def test_request_costs_no_query(hook_client: Client, hook: Subscription, receiver_threads: None) -> None:
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            response = hook_client.post(
                f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": SECRET}
            )
        assert (response.status_code, len(queries)) == (200, 0)
    assert WebhookRequest.objects.count() == 2


def test_deleted_subscription_is_404_at_once(hook_client: Client, hook: Subscription, receiver_threads: None) -> None:
    path = f"/hooks/{hook.token}"
    assert hook_client.post(path, b"{}", content_type="text/plain", headers={"X-S": SECRET}).status_code == 200
    Subscription.objects.update(deleted_at=timezone.now())
    assert hook_client.post(path, b"{}", content_type="text/plain", headers={"X-S": "wrong"}).status_code == 404
    assert WebhookRequest.objects.count() == 1


def test_cache_is_filled_before_the_first_request(
    hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("thread_priority.lower_wakeup_priority", "thread_priority.shorten_switch_interval", "drainer.start"):
        monkeypatch.setattr(f"events.receiver.handler.{name}", lambda: None)
    receivable_subscriptions.reset()
    prepare_to_receive()
    assert set(receivable_subscriptions._subscriptions) == {hook.token}


def test_new_subscription_is_found_at_once(cache: SubscriptionCache, hook: Subscription) -> None:
    lookup(cache, hook)
    second = Subscription.objects.create(account=hook.account, secrets=["s"], due_at=None)
    assert lookup(cache, second).id == second.pk


@pytest.mark.slow
def test_change_is_cached_within_two_seconds(cache: SubscriptionCache, hook: Subscription) -> None:
    before = lookup(cache, hook)
    Subscription.objects.update(secrets=["fresh", SECRET])
    deadline = time.monotonic() + 2
    while lookup(cache, hook).secrets != ("fresh", SECRET):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert before.secrets == (SECRET,)
    ProviderAccount.objects.update(settings={"base_url": "https://other.example"})
    deadline = time.monotonic() + 2
    while getattr(lookup(cache, hook).settings, "base_url", None) != "https://other.example":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_deleted_subscription_is_removed(cache: SubscriptionCache, hook: Subscription) -> None:
    lookup(cache, hook)
    Subscription.objects.update(deleted_at=hook.created_at)
    assert cache.refresh()
    assert cache.find(hook.token) is None


def test_request_with_a_new_secret_is_never_refused(
    hook_client: Client, hook: Subscription, receiver_threads: None
) -> None:
    for number in range(5):
        secret = f"secret-{number}"
        Subscription.objects.update(secrets=[secret])
        response = hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": secret})
        assert response.status_code == 200


def test_first_secret_is_used_as_soon_as_it_is_set(
    hook_client: Client, hook: Subscription, receiver_threads: None
) -> None:
    Subscription.objects.update(secrets=[])
    assert hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain").status_code == 503
    Subscription.objects.update(secrets=["now"])
    response = hook_client.post(f"/hooks/{hook.token}", b"{}", content_type="text/plain", headers={"X-S": "now"})
    assert response.status_code == 200


def test_unknown_token_is_looked_up_once_a_second(
    cache: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup(cache, hook)
    refreshes: list[bool] = []
    original = cache.refresh

    def count_and_refresh() -> bool:
        refreshes.append(True)
        return original()

    monkeypatch.setattr(cache, "refresh", count_and_refresh)
    for _ in range(10):
        assert cache.find("unknown") is None
    assert len(refreshes) <= 2
    for number in range(subscription_cache.MAX_UNKNOWN_TOKENS + 5):
        cache._remember_unknown(str(number))
    assert len(cache._unknown_tokens) <= subscription_cache.MAX_UNKNOWN_TOKENS


def test_threads_share_a_refresh_and_only_a_few_wait_for_it(
    cache: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup(cache, hook)
    reads: list[float] = []
    may_continue = threading.Event()
    original = cache.read

    def read() -> None:
        may_continue.wait(1)
        reads.append(time.monotonic())
        original()

    monkeypatch.setattr(cache, "read", read)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(cache.refresh())) for _ in range(20)]
    for thread in threads:
        thread.start()
    while len(results) < 20 - subscription_cache.MAX_WAITING_THREADS:
        time.sleep(0.01)
    assert not any(results)  # only a few threads wait
    may_continue.set()
    for thread in threads:
        thread.join()
    assert results.count(True) == subscription_cache.MAX_WAITING_THREADS
    assert len(reads) <= 3


def test_cached_subscriptions_are_found_without_a_database(
    cache: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup(cache, hook)
    fail_reads(cache, monkeypatch)
    assert lookup(cache, hook).secrets == (SECRET,)
    with pytest.raises(LookupUnavailable):
        cache.find("unknown")
    assert cache.find_newer(lookup(cache, hook)) is None


def test_lookup_is_unavailable_before_the_first_refresh(
    cache: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_reads(cache, patch)
        with pytest.raises(LookupUnavailable):
            cache.find(hook.token)
    lookup(cache, hook)


def test_unusable_subscription_does_not_affect_others(
    cache: SubscriptionCache, hook: Subscription, caplog: pytest.LogCaptureFixture
) -> None:
    unknown_provider = ProviderAccount.objects.create(provider="gone", name="Gone")
    Subscription.objects.bulk_create(
        [Subscription(account=unknown_provider, token="T", callback_url="https://x.example/hooks/T", secrets=["s"])]
    )
    assert lookup(cache, hook).id == hook.pk
    with pytest.raises(LookupUnavailable):
        cache.find("T")
    assert "cannot receive requests" in caplog.text


def test_internal_error_does_not_end_the_thread(
    cache: SubscriptionCache, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache, "read", lambda: 1 / 0)
        with pytest.raises(LookupUnavailable):
            cache.find(hook.token)
    assert any(record.exc_info for record in caplog.records)
    lookup(cache, hook)
