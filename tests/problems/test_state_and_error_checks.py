"""Problems of states and errors. Those that concern the account are grouped by account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from providers.models import AccountLimit, AccountStatus, ProviderAccount
from subscriptions.models import Problem, State, Subscription
from subscriptions.planning.steps import Wait
from subscriptions.problems import remediation
from tests.problems.conftest import error, open_problems, pause_calls, update


@pytest.mark.parametrize(
    ("state", "values", "severity"),
    [
        (State.SUSPENDED, {"suspended_count": 1}, "warning"),
        (State.SUSPENDED, {"suspended_count": 3}, "critical"),
        (State.SUSPENDED, {"gave_up_at": timezone.now()}, "critical"),
        (State.MISSING, {"failures": 1}, "critical"),
        (State.DRIFTED, {"drift": [{"field": "paths", "before": ["/a"], "after": ["/b"]}]}, "warning"),
        (State.FAILING, {"failures": 1}, "warning"),
    ],
)
def test_a_bad_state_is_one_problem(row: Subscription, state: State, values: dict[str, Any], severity: str) -> None:
    update(row, state=state, state_reason="The reason.", last_error=error("refused"), **values)
    assert open_problems() == [(state.value, severity)]
    problem = Problem.objects.get()
    expected = "The provider refuses." if state == State.FAILING else "The reason."
    assert (problem.message, problem.subscription_id, problem.account_id) == (expected, row.pk, row.account_id)


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISABLED, State.MANUAL, State.PENDING, State.DELETED])
def test_a_good_state_is_no_problem(row: Subscription, state: State) -> None:
    update(row, state=state)
    assert open_problems() == []


def test_a_refused_deletion_is_a_problem(row: Subscription) -> None:
    update(row, state=State.DELETING, present=False, failures=2, last_error=error("refused", "It is locked."))
    assert open_problems() == [("failing", "warning")]


@pytest.mark.parametrize(
    ("code", "failures", "expected"),
    [
        ("authentication_failed", 1, ("credentials", "critical")),
        ("permission_missing", 1, ("permission", "warning")),
        ("throttled", 2, None),
        ("throttled", 3, ("throttled", "warning")),
        ("unavailable", 2, None),
        ("unavailable", 3, ("unreachable", "warning")),
        ("address_refused", 1, ("unreachable", "warning")),
        ("limit_reached", 1, ("failing", "warning")),
        ("internal_error", 1, ("failing", "warning")),
    ],
)
def test_the_error_code_decides_the_kind(
    row: Subscription, code: str, failures: int, expected: tuple[str, str] | None
) -> None:
    update(row, state=State.FAILING, state_reason="No.", last_error=error(code), failures=failures)
    assert open_problems() == ([expected] if expected else [])


def test_an_account_error_of_many_subscriptions_is_one_problem(row: Subscription) -> None:
    others = [Subscription.objects.create(account=row.account, due_at=None) for _ in range(4)]
    pause_calls("authentication_failed", "Get a new token.")
    for one in (row, *others):
        update(one, state=State.FAILING, last_error=error("authentication_failed", "Refused."), failures=2)
    assert open_problems() == [("credentials", "critical")]
    problem = Problem.objects.get()
    assert problem.message == "Get a new token. 5 subscriptions are affected."
    assert (problem.count, problem.subject_type, problem.subscription_id) == (10, "account", None)
    assert remediation.link_of(problem) == f"/admin/providers/provideraccount/{row.account_id}/edit/"


def test_a_refused_account_is_a_problem_without_failing_subscriptions(row: Subscription) -> None:
    pause_calls("authentication_failed", "Get a new token.")
    assert open_problems() == [("credentials", "critical")]
    assert Problem.objects.get().message == "Get a new token."


@pytest.mark.parametrize(
    ("code", "expected"),
    [("permission_missing", ("permission", "warning")), ("unavailable", ("unreachable", "warning"))],
)
def test_a_paused_account_is_a_problem_before_any_subscription_fails(
    row: Subscription, code: str, expected: tuple[str, str]
) -> None:
    pause_calls(code, "It does not answer.", failing=False)
    ProviderAccount.objects.update(call_failures=5)
    assert open_problems() == [expected]
    problem = Problem.objects.get()
    assert (problem.message, problem.count, problem.first_at) == (
        "It does not answer.",
        5,
        ProviderAccount.objects.get().calls_paused_since,
    )


def test_an_account_refused_for_another_reason_shows_the_reason(row: Subscription) -> None:
    ProviderAccount.objects.update(status=AccountStatus.FAILING, status_reason="The domain is locked.")
    assert open_problems() == [("failing", "warning")]
    problem = Problem.objects.get()
    assert (problem.message, problem.subject_type) == ("The domain is locked.", "account")


def test_a_missing_permission_is_not_also_reported_as_credentials(row: Subscription) -> None:
    pause_calls("permission_missing", "Needs the scope webhooks.")
    update(row, state=State.FAILING, last_error=error("permission_missing", "Needs the scope webhooks."), failures=1)
    assert open_problems() == [("permission", "warning")]


@pytest.mark.parametrize(
    ("pause", "expected"), [(30, []), (300, [("throttled", "info")]), (3600, [("throttled", "warning")])]
)
def test_a_long_throttling_by_the_provider_is_a_problem(
    row: Subscription, pause: int, expected: list[tuple[str, str]]
) -> None:
    now = timezone.now()
    AccountLimit.objects.create(account=row.account, blocked_at=now, blocked_until=now + timedelta(seconds=pause))
    assert open_problems() == expected


def test_rows_that_cannot_be_decrypted_are_checked(row: Subscription) -> None:
    reason = "A stored secret cannot be decrypted."
    update(row, state=State.FAILING, state_reason=reason)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET secrets = 'not ours'")
        cursor.execute("UPDATE providers_provideraccount SET credentials = 'not ours'")
    assert open_problems() == [("failing", "warning")]
    assert Problem.objects.get().message == reason


def test_a_token_at_another_address_is_a_problem_of_the_subscription(row: Subscription) -> None:
    update(row, waiting="The provider has our token at https://copy.example.", waiting_for=Wait.ELSEWHERE)
    assert open_problems() == [("clone", "critical")]
    problem = Problem.objects.get()
    assert (problem.message, problem.subscription_id) == ("The provider has our token at https://copy.example.", row.pk)
    assert remediation.link_of(problem) == f"/admin/subscriptions/subscription/{row.pk}/change/"
