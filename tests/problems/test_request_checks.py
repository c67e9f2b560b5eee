"""Problems of requests: quarantined, rejected, and not processed in time."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from events.models import WebhookRequest
from events.processing import normalize, reprocess
from events.retention import rejected
from subscriptions.models import Problem, ProblemKind, State, Subscription
from subscriptions.problems import detector, remediation
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, store_request
from tests.problems.conftest import open_problems, update


def test_quarantined_requests_are_one_problem_of_their_subscription(row: Subscription, fake: FakeProvider) -> None:
    first, newest = store_request(row, b"no json"), store_request(row, b"no json either")
    normalize.normalize_pending()
    assert open_problems() == [("quarantine", "warning")]
    problem = Problem.objects.get()
    assert problem.message.startswith("2 requests in quarantine, because parsing failed. Nothing is lost.")
    assert (problem.count, problem.evidence, problem.sample["request"]) == (2, str(newest.uid), str(newest.uid))
    assert problem.first_at == first.received_at
    assert remediation.link_of(problem).endswith(f"?subscription={row.pk}&outcome=quarantined")
    WebhookRequest.objects.update(outcome="processed")
    assert open_problems() == []


def test_quarantined_requests_of_a_deleted_subscription_are_a_problem(row: Subscription) -> None:
    store_request(row, b"no json")
    normalize.normalize_pending()
    update(row, deleted_at=timezone.now(), state=State.DELETED)
    assert open_problems() == [("quarantine", "warning")]


def test_rejected_requests_are_a_problem_until_the_subscription_is_deleted(row: Subscription) -> None:
    store_request(row, b"{}", headers=())
    assert open_problems() == [("rejected_requests", "warning")]
    assert "No header carries the secret." in Problem.objects.get().message
    update(row, deleted_at=timezone.now())
    assert open_problems() == []


REQUEST_KINDS = (ProblemKind.QUARANTINE, ProblemKind.REJECTED_REQUESTS, ProblemKind.BLOCKED_REQUESTS)
BODIES = {
    ProblemKind.QUARANTINE: b"no json",
    ProblemKind.REJECTED_REQUESTS: b"{}",
    ProblemKind.BLOCKED_REQUESTS: b'{"events": []}',
}


def store_unsettled(row: Subscription, kind: ProblemKind) -> WebhookRequest:
    """Store a request that causes a problem of this kind."""
    headers = () if kind is ProblemKind.REJECTED_REQUESTS else (("X-Secret", SECRET),)
    request = store_request(row, BODIES[kind], headers=headers)
    if kind is ProblemKind.QUARANTINE:
        normalize.normalize_pending()
    elif kind is ProblemKind.BLOCKED_REQUESTS:
        WebhookRequest.objects.filter(pk=request.pk).update(outcome="rejected", reason="Its address is not allowed.")
    return request


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_no_problem_of_requests_ends_by_the_clock(row: Subscription, kind: ProblemKind) -> None:
    request = store_unsettled(row, kind)
    assert open_problems() == [(kind.value, "warning")]
    for days in (2, 20, 200):
        with time_machine.travel(timezone.now() + timedelta(days=days)):
            detector.detect(REQUEST_KINDS)
        assert Problem.objects.get().state == "open", f"after {days} days"
    WebhookRequest.objects.filter(pk=request.pk).delete()  # as retention does
    assert open_problems() == []


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_resolving_dismisses_the_requests_so_far(row: Subscription, kind: ProblemKind) -> None:
    dismissed = [store_unsettled(row, kind) for _ in range(2)]
    assert open_problems() == [(kind.value, "warning")]
    unseen = store_unsettled(row, kind)
    detector.resolve(Problem.objects.get(), by="staff:ann")
    assert {pk for pk, at in WebhookRequest.objects.values_list("pk", "dismissed_at") if at} == {
        request.pk for request in dismissed
    }
    assert open_problems() == [(kind.value, "warning")], "the request that the person had not seen"
    assert (Problem.objects.get().count, Problem.objects.get().evidence) == (1, str(unseen.uid))
    WebhookRequest.objects.filter(pk=unseen.pk).delete()
    assert open_problems() == [], "dismissed requests do not return when a newer one is gone"


def test_a_dismissed_request_that_is_released_can_be_a_problem_again(row: Subscription, fake: FakeProvider) -> None:
    request = store_request(row, body_of({"id": 1}))
    normalize.normalize_pending()
    assert open_problems() == [("quarantine", "warning")]
    detector.resolve(Problem.objects.get(), by="staff:ann")
    assert reprocess.reprocess_request(request).dismissed_at, "still in quarantine"
    assert open_problems() == []
    fake.fixed = True
    assert reprocess.reprocess_request(request).outcome == "processed"
    fake.before_parse = lambda call: call.headers[99]  # type: ignore[assignment]
    assert reprocess.reprocess_request(request).outcome == "quarantined"
    assert open_problems() == [("quarantine", "warning")]


def test_more_than_are_kept_are_counted_as_or_more(row: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "MAX_REQUESTS", 3)
    for _ in range(3):
        store_unsettled(row, ProblemKind.REJECTED_REQUESTS)
    open_problems()
    assert Problem.objects.get().message.startswith("3 or more requests were rejected.")


def test_authentic_requests_from_a_blocked_address_are_a_problem_of_their_own(row: Subscription) -> None:
    store_unsettled(row, ProblemKind.BLOCKED_REQUESTS)
    store_unsettled(row, ProblemKind.REJECTED_REQUESTS)
    assert open_problems() == [("blocked_requests", "warning"), ("rejected_requests", "warning")]
    problem = Problem.objects.get(kind="blocked_requests")
    assert problem.message.startswith("1 request with a valid signature or secret came from an address")
    assert problem.sample["addresses"] == {"192.0.2.1": 1}


def test_many_rejected_and_no_accepted_requests_are_critical(row: Subscription) -> None:
    for _ in range(10):
        store_request(row, b"{}", headers=())
    assert open_problems() == [("rejected_requests", "critical")]
    update(row, last_event_at=timezone.now())
    assert open_problems() == [("rejected_requests", "warning")]


def test_many_requests_of_one_subscription_do_not_hide_another(
    row: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    from events.monitoring import problem_checks as incoming

    monkeypatch.setattr(incoming, "MAX_COUNTED", 3)
    other = Subscription.objects.create(account=row.account, secrets=[SECRET], due_at=None)
    store_request(other, b"no json")
    for _ in range(5):
        store_request(row, b"no json")
    normalize.normalize_pending()
    assert open_problems() == [("quarantine", "warning")] * 2
    assert sorted(Problem.objects.values_list("count", flat=True)) == [1, 3]
    assert Problem.objects.get(subscription=row).message.startswith("3 or more requests")


def test_requests_that_are_pending_for_too_long_are_a_backlog(row: Subscription) -> None:
    store_request(row, body_of({"id": 1, "type": "made"}), received_at=timezone.now() - timedelta(minutes=3))
    assert open_problems() == [("backlog", "warning")]
    normalize.normalize_pending()
    assert open_problems() == []
