"""Problems of requests: quarantined, rejected, and not processed in time."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from events.models import WebhookRequest
from events.processing import normalize
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


def test_rejected_requests_are_resolved_after_a_day(row: Subscription) -> None:
    store_request(row, b"{}", headers=())
    assert open_problems() == [("rejected_requests", "warning")]
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        detector.detect({ProblemKind.REJECTED_REQUESTS})
    assert Problem.objects.get().state == "resolved"


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
