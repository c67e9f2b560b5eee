"""Poison requests, which hang or kill the process, are quarantined and block no other request."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from pytest_django import Settings

from events import tasks
from events.models import Event, Outcome, WebhookRequest
from events.processing import inline_normalizer as normalizer_module
from events.processing import normalize, poison_requests, reprocess
from events.processing import poller as poller_module
from events.processing.inline_normalizer import InlineNormalizer
from events.processing.poller import Poller
from events.receiver.group_commit import writer
from providers.contract.parsing import InboundRequest
from providers.models import ProviderAccount
from subscriptions.models import Problem, Subscription
from subscriptions.problems.detector import detect
from tests.harness.fake_provider import FakeProvider, body_of, run_concurrently, store_request
from tests.harness.processes import run_python
from tests.harness.receiving import row_of_request

pytestmark = pytest.mark.django_db

LATE = poison_requests.COUNTED_AFTER + timedelta(seconds=1)


def late(hook: Subscription, number: int) -> WebhookRequest:
    return store_request(hook, body_of({"id": number, "type": "made"}), received_at=timezone.now() - LATE)


def fresh(request: WebhookRequest) -> WebhookRequest:
    return WebhookRequest.objects.get(pk=request.pk)


def pass_attempt_timeout() -> None:
    """Let the timeout of started attempts pass."""
    started = timezone.now() - poison_requests.ATTEMPT_TIMEOUT
    WebhookRequest.objects.filter(tried_at__isnull=False).update(tried_at=started)


NORMALIZE = """
import os
from events.processing import normalize
from providers.contract.registry import get_provider
plugin = get_provider("egnyte-connect")
original = plugin.parse
def parse(request):
    if b"deadly" in request.body:
        os._exit(139)
    return original(request)
plugin.parse = parse
print(normalize.normalize_pending(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_request_that_kills_the_process_is_quarantined_and_the_others_processed(transactional_db: None) -> None:
    # Another process does not have the fake provider.
    account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
    subscription = Subscription.objects.create(account=account, due_at=None)

    def received(name: str) -> WebhookRequest:
        body = f'[{{"eventId": "{name}", "eventType": "fs:add_file", "data": {{}}}}]'.encode()
        received_at = timezone.now() - LATE
        return store_request(subscription, body, headers=(("X", subscription.secrets[0]),), received_at=received_at)

    before, deadly, behind = received("before"), received("deadly"), received("behind")
    assert run_python(NORMALIZE).returncode == 139
    assert set(WebhookRequest.objects.values_list("tries", flat=True)) == {1}
    later = received("later")
    assert run_python(NORMALIZE).stdout.split() == ["1"]  # attempts for the others count as under way
    assert fresh(later).outcome == Outcome.PROCESSED
    pass_attempt_timeout()
    assert run_python(NORMALIZE).returncode == 139
    assert fresh(before).outcome == Outcome.PROCESSED
    pass_attempt_timeout()
    assert run_python(NORMALIZE).returncode == 139
    assert fresh(behind).outcome == Outcome.PROCESSED
    assert fresh(deadly).outcome == Outcome.RECEIVED
    pass_attempt_timeout()
    assert run_python(NORMALIZE).stdout.split() == ["1"]
    assert (fresh(deadly).outcome, fresh(deadly).reason) == (Outcome.QUARANTINED, poison_requests.REASON)
    detect()
    assert poison_requests.REASON in Problem.objects.get(kind="quarantine", state="open").message
    assert reprocess.reprocess_request(deadly).outcome == Outcome.PROCESSED  # only the subprocess has the deadly parser
    assert set(Event.objects.values_list("provider_event_id", flat=True)) == {"before", "deadly", "behind", "later"}


@pytest.fixture
def poller(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch, fake: FakeProvider
) -> Iterator[Poller]:
    """Replace the worker's poller by one with a short timeout. Hanging threads are released at the end."""
    settings.NORMALIZE_IN_THREAD = True
    monkeypatch.setattr(poller_module, "HANGS_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(writer, "_on_rows_stored", lambda rows: None)  # so that the process's normalizer gets no rows
    poller = Poller()
    monkeypatch.setattr(tasks, "poller", poller)
    threads: list[threading.Thread] = []
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        threads.append(thread)
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    release = threading.Event()

    def hang(request: InboundRequest) -> None:
        if b"hangs" in request.body:
            release.wait(60)

    fake.before_parse = hang
    yield poller
    release.set()
    poller.stop()
    for thread in threads:
        thread.join(10)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_request_that_hangs_is_quarantined_and_the_others_processed(poller: Poller, hook: Subscription) -> None:
    hanging = store_request(hook, body_of({"id": "hangs", "type": "made"}), received_at=timezone.now() - LATE)
    beside = late(hook, 1)
    for tries in (1, 2, 3):
        with pytest.raises(TimeoutError):
            tasks.normalize_pending()
        assert fresh(hanging).tries == tries
        later = late(hook, 10 + tries)
        assert tasks.normalize_pending() >= 1  # while the first thread hangs
        assert fresh(later).outcome == Outcome.PROCESSED
        pass_attempt_timeout()
    assert fresh(beside).outcome == Outcome.PROCESSED
    tasks.normalize_pending()
    assert (fresh(hanging).outcome, fresh(hanging).reason) == (Outcome.QUARANTINED, poison_requests.REASON)


@pytest.mark.django_db(transaction=True)
def test_an_abandoned_thread_that_continues_changes_nothing(
    poller: Poller, hook: Subscription, fake: FakeProvider
) -> None:
    release, read = threading.Event(), threading.Event()

    def hang(request: InboundRequest) -> None:
        release.wait(30)
        read.set()

    request = late(hook, 1)
    fake.before_parse = hang
    with pytest.raises(TimeoutError):
        tasks.normalize_pending()
    WebhookRequest.objects.update(tries=poison_requests.MAX_ATTEMPTS)
    pass_attempt_timeout()
    assert tasks.normalize_pending() == 1
    release.set()
    assert read.wait(10)
    poller.stop()
    for thread in threading.enumerate():
        if thread.name == "poller":
            thread.join(10)
    assert (fresh(request).outcome, Event.objects.count()) == (Outcome.QUARANTINED, 0)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_thread_is_abandoned_while_the_database_hangs(
    poller: Poller, hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    database_answered = threading.Event()

    def answers_late(connection: BaseDatabaseWrapper) -> CursorWrapper:
        if threading.current_thread().name != "poller":
            time.sleep(0.5)
            database_answered.set()
        return original(connection)

    request = late(hook, 1)
    fake.before_parse = lambda request: (database_answered.wait(30), None)[1]
    original = BaseDatabaseWrapper.cursor
    with monkeypatch.context() as patch:
        patch.setattr(poller_module, "SLOW_QUERY_SECONDS", 0.4)
        patch.setattr(BaseDatabaseWrapper, "cursor", answers_late)
        assert tasks.normalize_pending() == 1
    assert fresh(request).outcome == Outcome.PROCESSED


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_process_with_many_abandoned_threads_ends(
    poller: Poller, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(poller_module, "end_process", ended.append)
    monkeypatch.setattr(poller_module, "MAX_ABANDONED_THREADS", 2)
    for number in range(2):
        assert ended == []
        store_request(hook, body_of({"id": number, "type": "hangs"}), received_at=timezone.now() - LATE)
        with pytest.raises(TimeoutError):
            tasks.normalize_pending()
    assert ended == [1]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_inline_normalizer_abandons_a_request_that_hangs(
    poller: Poller, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalizer_module, "HANGS_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(normalizer_module, "IDLE_SECONDS", 0.1)
    inline_normalizer = InlineNormalizer()
    inline_normalizer.enqueue_rows([row_of_request(store_request(hook, body_of({"id": "hangs", "type": "made"})))])
    time.sleep(0.5)
    later = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(2)]
    for request in later:
        inline_normalizer.enqueue_rows([row_of_request(request)])
    deadline = time.monotonic() + 10
    while Event.objects.count() < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    inline_normalizer.stop()


def test_attempts_are_not_counted_for_young_requests(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    assert normalize.normalize_pending() == 1
    assert (fresh(request).tries, fresh(request).tried_at) == (0, None)


def test_counting_attempts_costs_one_write_per_batch(hook: Subscription) -> None:
    for number in range(30):
        late(hook, number)
    with CountedWrites() as writes:
        assert normalize.normalize_pending(batch=10) == 30
    counting = [sql for sql in writes.statements if '"tries"' in sql]
    assert len(counting) == 3
    assert len(writes.statements) < 30


class CountedWrites:
    """Records the statements that update requests."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __enter__(self) -> CountedWrites:
        self._wrapped = connection.execute_wrapper(self._record)
        self._wrapped.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._wrapped.__exit__(*exc_info)

    def _record(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith('UPDATE "events_webhookrequest"'):
            self.statements.append(sql)
        return execute(sql, params, many, context)


def test_a_request_that_cannot_be_written_is_not_counted_as_poison(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = late(hook, 1)

    def locked(*args: object) -> bool:
        raise OperationalError("deadlock detected")

    with monkeypatch.context() as patch:
        patch.setattr(normalize, "_write", locked)
        patch.setattr(normalize, "_normalize_together", locked)
        patch.setattr(connection, "close", lambda: None)
        for _ in range(poison_requests.MAX_ATTEMPTS + 1):
            assert normalize.normalize_pending() == 0
    assert fresh(request).tries == 0
    assert normalize.normalize_pending() == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_workers_never_attempt_the_same_request(hook: Subscription) -> None:
    keys = [late(hook, number).pk for number in range(20)]
    claimed = run_concurrently(*[lambda: poison_requests.start_attempts(keys)] * 4)
    assert sorted(key for part in claimed for key in part) == keys
    assert set(WebhookRequest.objects.values_list("tries", flat=True)) == {1}


def test_reprocessing_resets_the_attempts(hook: Subscription) -> None:
    request = late(hook, 1)
    WebhookRequest.objects.update(
        tries=poison_requests.MAX_ATTEMPTS, tried_at=timezone.now() - poison_requests.ATTEMPT_TIMEOUT
    )
    assert normalize.normalize_pending() == 1
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert reprocess.reprocess_request(request).outcome == Outcome.PROCESSED
    assert fresh(request).tries == 0
