"""What counts as trouble: leases, states, errors, requests, heartbeats; and that healthy rows cost nothing."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config.environment import BASE_DIR
from events.models import WebhookRequest
from events.processing import normalize
from providers.models import AccountLimit, AccountStatus, ProviderAccount
from subscriptions.models import Heartbeat, Managed, Problem, ProblemKind, Severity, State, Subscription
from subscriptions.planning.steps import Wait
from subscriptions.problems import checks, detector, remediation
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, store_request

DAY = timedelta(days=1)


@pytest.fixture
def row(hook: Subscription) -> Subscription:
    """Registered, with ten days of life granted, of which all are left."""
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    now = timezone.now()
    change(hook, state=State.ACTIVE, remote_id="r-1", remote_enabled=True, granted=10 * DAY, expires_at=now + 10 * DAY)
    return hook


def change(row: Subscription, **values: Any) -> None:
    Subscription.objects.filter(pk=row.pk).update(**values)
    row.refresh_from_db()


def lease(row: Subscription, *, left: float, **values: Any) -> None:
    """A lease of which this part is left, and that is due for renewal."""
    now = timezone.now()
    change(row, expires_at=now + 10 * DAY * left, renew_at=now - timedelta(minutes=1), **values)


def error(code: str, message: str = "The provider says no.") -> dict[str, Any]:
    return {"code": code, "message": message, "field": None}


def rest(code: str, reason: str, *, failing: bool = True) -> None:
    """Lets the calls of all accounts rest."""
    now = timezone.now()
    ProviderAccount.objects.update(
        calls_paused_for=code,
        calls_paused_reason=reason,
        calls_paused_since=now - timedelta(minutes=9),
        calls_paused_at=now,
        calls_paused_until=now + timedelta(minutes=5),
        status=AccountStatus.FAILING if failing else AccountStatus.OK,
        status_reason=reason if failing else "",
    )


def found() -> list[tuple[str, str]]:
    """Kind and severity of what is open."""
    detector.detect()
    return sorted(Problem.objects.active().values_list("kind", "severity"))


# -- Leases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "failures", "severity"),
    [
        (0.38, 0, None),  # renewing has just begun
        (0.38, 2, None),  # quiet for the first tries
        (0.34, 3, "warning"),
        (0.24, 0, "warning"),  # nobody seems to try
        (0.24, 7, "warning"),
        (0.11, 1, "critical"),
        (0.01, 9, "critical"),
    ],
)
def test_a_lease_that_runs_out_is_quiet_then_a_warning_then_an_alarm(
    row: Subscription, left: float, failures: int, severity: str | None
) -> None:
    trouble = error("unavailable") if failures else None
    lease(row, left=left, failures=failures, renewal_tries=failures, last_error=trouble)
    expected = [("expiring", severity)] if severity else []
    if failures >= checks.rows.MIN_FAILURES:
        expected.append(("unreachable", "warning"))
    assert found() == expected


def test_it_escalates_on_one_row_while_time_passes(row: Subscription) -> None:
    lease(row, left=0.35, renewal_tries=1, last_error=error("unavailable", "No answer."))
    with time_machine.travel(timezone.now(), tick=False) as clock:
        seen: list[str | None] = []
        for _ in range(5):
            change(row, renewal_tries=row.renewal_tries + 1)
            detector.detect({ProblemKind.EXPIRING, ProblemKind.EXPIRED})
            seen.append(next(iter(Problem.objects.active().values_list("severity", flat=True)), None))
            clock.shift(0.9 * DAY)
        assert seen == [None, "warning", "warning", "critical", "critical"]
    assert [item.transition for item in Problem.objects.get(kind="expiring").transitions.order_by("pk")] == [
        "opened",
        "more_severe",
        *(["resolved"] if Problem.objects.filter(kind="expired").exists() else []),
    ]


def test_a_lease_that_nobody_renews_needs_a_person_in_time(row: Subscription) -> None:
    lease(row, left=0.35, auto_renew=False)
    assert found() == [("expiring", "warning")]
    told = Problem.objects.get()
    assert "Auto-renew is off" in told.message
    assert remediation.action_of(told) == "Renew it now, or enable auto-renew."
    assert remediation.link_of(told).endswith(f"?action=renew&pk={row.pk}")


def test_a_renewed_lease_resolves_it(row: Subscription) -> None:
    lease(row, left=0.1)
    assert found() == [("expiring", "critical")]
    change(row, expires_at=timezone.now() + 10 * DAY, renew_at=timezone.now() + 6 * DAY)
    assert found() == []


def test_an_ended_lease_is_critical_even_when_nobody_looks_any_more(row: Subscription) -> None:
    lease(row, left=-0.1, state_reason="Registered and switched on.")
    assert row.state == State.ACTIVE, "the worker is dead: nobody has derived the state anew"
    assert found() == [("expired", "critical")]
    told = Problem.objects.get()
    assert told.first_at == row.expires_at
    assert told.message.endswith("No events arrive."), "what its state said before is over"


def test_a_lease_that_ended_this_moment_is_left_to_the_sweep(row: Subscription) -> None:
    change(row, expires_at=timezone.now() - timedelta(seconds=3), renew_at=timezone.now() - DAY)
    assert found() == []
    change(row, state=State.EXPIRED, failures=1)
    assert found() == [("expired", "critical")]


@pytest.mark.parametrize(
    "quiet",
    [{"enabled": False}, {"present": False}, {"managed": Managed.MANUAL}, {"remote_id": None}, {"deleted_at": "now"}],
)
def test_a_lease_that_is_not_wanted_is_no_trouble(row: Subscription, quiet: dict[str, Any]) -> None:
    lease(row, left=0.05, **{name: timezone.now() if value == "now" else value for name, value in quiet.items()})
    assert found() == []


# -- States and errors -----------------------------------------------------------------------------------------------


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
def test_a_state_that_is_trouble_is_one_problem(
    row: Subscription, state: State, values: dict[str, Any], severity: str
) -> None:
    change(row, state=state, state_reason="As it stands.", last_error=error("refused"), **values)
    assert found() == [(state.value, severity)]
    told = Problem.objects.get()
    expected = "The provider says no." if state == State.FAILING else "As it stands."
    assert (told.message, told.subscription_id, told.account_id) == (expected, row.pk, row.account_id)


@pytest.mark.parametrize("state", [State.ACTIVE, State.DISABLED, State.MANUAL, State.PENDING, State.DELETED])
def test_what_is_as_it_should_be_is_no_trouble(row: Subscription, state: State) -> None:
    change(row, state=state)
    assert found() == []


def test_a_deletion_that_the_provider_refuses_is_trouble(row: Subscription) -> None:
    change(row, state=State.DELETING, present=False, failures=2, last_error=error("refused", "It is locked."))
    assert found() == [("failing", "warning")]


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
def test_errors_become_the_kind_that_says_what_to_do(
    row: Subscription, code: str, failures: int, expected: tuple[str, str] | None
) -> None:
    change(row, state=State.FAILING, state_reason="No.", last_error=error(code), failures=failures)
    assert found() == ([expected] if expected else [])


def test_an_accounts_trouble_is_one_problem_however_many_feel_it(row: Subscription) -> None:
    others = [Subscription.objects.create(account=row.account, due_at=None) for _ in range(4)]
    rest("authentication_failed", "Get a new token.")
    for one in (row, *others):
        change(one, state=State.FAILING, last_error=error("authentication_failed", "Refused."), failures=2)
    assert found() == [("credentials", "critical")]
    told = Problem.objects.get()
    assert told.message == "Get a new token. 5 subscriptions are affected."
    assert (told.count, told.subject_type, told.subscription_id) == (10, "account", None)
    assert remediation.link_of(told) == f"/admin/providers/provideraccount/{row.account_id}/edit/"


def test_an_account_that_is_refused_is_told_without_any_subscription(row: Subscription) -> None:
    rest("authentication_failed", "Get a new token.")
    assert found() == [("credentials", "critical")]
    assert Problem.objects.get().message == "Get a new token."


@pytest.mark.parametrize(
    ("code", "expected"),
    [("permission_missing", ("permission", "warning")), ("unavailable", ("unreachable", "warning"))],
)
def test_an_account_whose_calls_rest_is_told_before_any_subscription_feels_it(
    row: Subscription, code: str, expected: tuple[str, str]
) -> None:
    rest(code, "It does not answer.", failing=False)
    ProviderAccount.objects.update(call_failures=5)
    assert found() == [expected]
    told = Problem.objects.get()
    assert (told.message, told.count, told.first_at) == (
        "It does not answer.",
        5,
        ProviderAccount.objects.get().calls_paused_since,
    )


def test_an_account_that_is_refused_for_another_reason_says_so(row: Subscription) -> None:
    ProviderAccount.objects.update(status=AccountStatus.FAILING, status_reason="The domain is locked.")
    assert found() == [("failing", "warning")]
    told = Problem.objects.get()
    assert (told.message, told.subject_type) == ("The domain is locked.", "account")


def test_a_missing_permission_is_not_told_as_refused_credentials_too(row: Subscription) -> None:
    rest("permission_missing", "Needs the scope webhooks.")
    change(row, state=State.FAILING, last_error=error("permission_missing", "Needs the scope webhooks."), failures=1)
    assert found() == [("permission", "warning")]


@pytest.mark.parametrize(
    ("pause", "expected"), [(30, []), (300, [("throttled", "info")]), (3600, [("throttled", "warning")])]
)
def test_a_pause_that_the_provider_asks_for(row: Subscription, pause: int, expected: list[tuple[str, str]]) -> None:
    now = timezone.now()
    AccountLimit.objects.create(account=row.account, blocked_at=now, blocked_until=now + timedelta(seconds=pause))
    assert found() == expected


def test_no_key_is_needed_to_tell_that_a_row_cannot_be_decrypted(row: Subscription) -> None:
    reason = "A stored secret cannot be decrypted."
    change(row, state=State.FAILING, state_reason=reason)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_subscription SET secrets = 'not ours'")
        cursor.execute("UPDATE providers_provideraccount SET credentials = 'not ours'")
    assert found() == [("failing", "warning")]
    assert Problem.objects.get().message == reason


def test_an_address_that_nobody_confirmed_is_one_problem_of_the_installation(row: Subscription) -> None:
    others = [Subscription.objects.create(account=row.account, due_at=None) for _ in range(2)]
    for one in (row, *others):
        change(
            one, waiting="PUBLIC_URL is another.", waiting_for=Wait.ADDRESS, callback_url="https://old.example/hooks/x"
        )
    assert found() == [("clone", "critical")]
    told = Problem.objects.get()
    assert "3 subscriptions were registered with another address, such as https://old.example." in told.message
    assert (told.count, told.subject_type) == (3, "installation")
    Subscription.objects.update(waiting="", waiting_for="")
    assert found() == []


def test_a_token_at_another_address_is_the_subscriptions_problem(row: Subscription) -> None:
    change(row, waiting="The provider has our token at https://copy.example.", waiting_for=Wait.ELSEWHERE)
    assert found() == [("clone", "critical")]
    told = Problem.objects.get()
    assert (told.message, told.subscription_id) == ("The provider has our token at https://copy.example.", row.pk)
    assert remediation.link_of(told) == f"/admin/subscriptions/subscription/{row.pk}/change/"


# -- Requests --------------------------------------------------------------------------------------------------------


def test_quarantined_requests_are_one_problem_of_their_subscription(row: Subscription, fake: FakeProvider) -> None:
    first, newest = store_request(row, b"no json"), store_request(row, b"neither")
    normalize.normalize_pending()
    assert found() == [("quarantine", "warning")]
    told = Problem.objects.get()
    assert told.message.startswith("2 requests in quarantine, because parsing failed. Nothing is lost.")
    assert (told.count, told.evidence, told.sample["request"]) == (2, str(newest.uid), str(newest.uid))
    assert told.first_at == first.received_at
    assert remediation.link_of(told).endswith(f"?subscription={row.pk}&outcome=quarantined")
    WebhookRequest.objects.update(outcome="processed")
    assert found() == []


def test_quarantine_of_a_deleted_subscription_still_waits(row: Subscription) -> None:
    store_request(row, b"no json")
    normalize.normalize_pending()
    change(row, deleted_at=timezone.now(), state=State.DELETED)
    assert found() == [("quarantine", "warning")]


def test_rejected_requests_of_the_last_day(row: Subscription) -> None:
    store_request(row, b"{}", headers=())
    assert found() == [("rejected_requests", "warning")]
    assert "No header carries the secret." in Problem.objects.get().message
    change(row, deleted_at=timezone.now())
    assert found() == []


def test_rejected_requests_are_forgotten_after_a_day(row: Subscription) -> None:
    store_request(row, b"{}", headers=())
    assert found() == [("rejected_requests", "warning")]
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        detector.detect({ProblemKind.REJECTED_REQUESTS})
    assert Problem.objects.get().state == "resolved"


def test_many_rejected_and_none_accepted_is_an_alarm(row: Subscription) -> None:
    for _ in range(10):
        store_request(row, b"{}", headers=())
    assert found() == [("rejected_requests", "critical")]
    change(row, last_event_at=timezone.now())
    assert found() == [("rejected_requests", "warning")]


def test_a_flood_at_one_subscription_hides_no_other(row: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    from events.monitoring import problem_checks as incoming

    monkeypatch.setattr(incoming, "MAX_COUNTED", 3)
    other = Subscription.objects.create(account=row.account, secrets=[SECRET], due_at=None)
    store_request(other, b"no json")
    for _ in range(5):
        store_request(row, b"no json")
    normalize.normalize_pending()
    assert found() == [("quarantine", "warning")] * 2
    assert sorted(Problem.objects.values_list("count", flat=True)) == [1, 3]
    assert Problem.objects.get(subscription=row).message.startswith("3 or more requests")


def test_requests_that_wait_too_long_for_their_events(row: Subscription) -> None:
    store_request(row, body_of({"id": 1, "type": "made"}), received_at=timezone.now() - timedelta(minutes=3))
    assert found() == [("backlog", "warning")]
    normalize.normalize_pending()
    assert found() == []


# -- Heartbeats ------------------------------------------------------------------------------------------------------


@pytest.fixture
def up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)


def silence(name: str, since: datetime | None) -> None:
    if since is None:
        Heartbeat.objects.filter(name=name).delete()
    else:
        Heartbeat.objects.filter(name=name).update(at=since)


@pytest.mark.parametrize("never", [True, False])
def test_a_scheduler_or_worker_without_a_sign_of_life(row: Subscription, up_for_long: None, never: bool) -> None:
    since = None if never else timezone.now() - timedelta(minutes=5)
    silence("worker", since)
    assert found() == [("worker_down", "warning")]
    assert "message broker" in Problem.objects.get().message
    silence("scheduler", since)
    assert found() == [("scheduler_down", "critical"), ("worker_down", "critical")]
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    assert found() == []


def test_just_after_a_start_it_stays_as_it_was(
    row: Subscription, up_for_long: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence("worker", timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(checks.installation, "_started", time.monotonic())
    assert found() == []
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)
    assert found() == [("worker_down", "warning")]
    monkeypatch.setattr(checks.installation, "_started", time.monotonic())  # another process starts
    assert found() == [("worker_down", "warning")]


# -- Cost ------------------------------------------------------------------------------------------------------------


def test_healthy_rows_cost_no_query(row: Subscription) -> None:
    lease(row, left=0.1)
    found()
    with CaptureQueriesContext(connection) as few:
        detector.detect()
    now = timezone.now()
    Subscription.objects.bulk_create(
        [
            Subscription(
                account=row.account,
                token=f"token-{number}",
                callback_url=f"http://x/hooks/token-{number}",
                state=State.ACTIVE,
                remote_id=f"r-{number}",
                granted=10 * DAY,
                expires_at=now + 9 * DAY,
                renew_at=now + 6 * DAY,
                due_at=None,
            )
            for number in range(500)
        ]
    )
    with CaptureQueriesContext(connection) as many:
        detector.detect()
    assert len(many) == len(few) <= 20
    assert found() == [("expiring", "critical")]


def test_many_in_trouble_are_read_and_opened_in_batches(row: Subscription) -> None:
    Subscription.objects.bulk_create(
        [
            Subscription(
                account=row.account,
                token=f"token-{number}",
                callback_url=f"http://x/hooks/token-{number}",
                state=State.MISSING,
                state_reason="Gone.",
                due_at=None,
            )
            for number in range(250)
        ]
    )
    with CaptureQueriesContext(connection) as queries:
        assert detector.detect().opened == 250
    assert len(queries) < 40
    with CaptureQueriesContext(connection) as queries:
        assert detector.detect().opened == 0
    assert len(queries) <= 20
    Subscription.objects.update(state=State.ACTIVE)
    assert detector.detect().resolved == 250
    assert Severity(Problem.objects.values_list("severity", flat=True)[0]) is Severity.CRITICAL


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_every_kind_has_advice_and_a_page(row: Subscription, kind: ProblemKind) -> None:
    problem = Problem(kind=kind, account_id=row.account_id, subscription_id=row.pk)
    assert remediation.action_of(problem).endswith(".")
    assert remediation.button_of(problem)
    assert remediation.link_of(problem).startswith("/admin/")


def test_the_operators_pages_tell_of_every_kind() -> None:
    page = (BASE_DIR / "docs" / "problems.md").read_text()
    for kind in ProblemKind:
        assert f"| `{kind}` |" in page
