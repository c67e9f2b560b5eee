"""/problems/: list, read, acknowledge, resolve."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from providers.models import HistoryEntry, ProviderAccount
from providers.times import iso_time
from subscriptions.models import Problem, State, Subscription
from subscriptions.problems import detector
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access

pytestmark = pytest.mark.django_db


@pytest.fixture
def missing(hook: Subscription) -> Problem:
    """Return the problem of a subscription that is missing at the provider."""
    Subscription.objects.filter(pk=hook.pk).update(
        name="Finance",
        state=State.MISSING,
        state_reason="The provider no longer has it.",
        failures=4,
        last_error={"code": "unavailable", "message": "No answer.", "field": None},
        missing_since=timezone.now() - timedelta(hours=1),
    )
    detector.detect()
    return Problem.objects.get(kind="missing")


@pytest.fixture
def refused(missing: Problem) -> Problem:
    """Return the problem of an account whose credentials are refused."""
    ProviderAccount.objects.create(
        provider="fake", name="Other", status="failing", calls_paused_for="authentication_failed"
    )
    detector.detect()
    return Problem.objects.get(kind="credentials")


def test_a_problem_shows_its_next_action(api: Api, missing: Problem, hook: Subscription) -> None:
    response = api.get(f"/problems/{missing.uid}/")
    assert response.status == 200
    assert response.json == {
        "id": str(missing.uid),
        "kind": "missing",
        "severity": "critical",
        "state": "open",
        "subject": {"type": "subscription", "id": str(hook.uid), "name": "Finance"},
        "account": str(hook.account.uid),
        "subscription": str(hook.uid),
        "message": "The provider no longer has it.",
        "action": "Reconcile the subscription. "
        "It is registered again, or the provider's response says what prevents it.",
        "action_url": f"http://127.0.0.1:8000/admin/subscriptions/subscription/actions/?action=reconcile&pk={hook.pk}",
        "sample": {"code": "unavailable", "message": "No answer.", "field": None},
        "count": 4,
        "reopened": 0,
        "first_at": iso_time(missing.first_at),
        "opened_at": iso_time(missing.opened_at),
        "last_at": iso_time(missing.last_at),
        "acknowledged_at": None,
        "acknowledged_by": "",
        "resolved_at": None,
        "resolved_by": "",
    }


def test_a_problem_of_the_installation_has_no_account(api: Api) -> None:
    now = timezone.now()
    row = Problem.objects.create(
        kind="clone",
        severity="critical",
        subject_type="installation",
        subject_name="This installation",
        message="It is a copy.",
        first_at=now,
        opened_at=now,
        last_at=now,
        changed_at=now,
    )
    data = api.get(f"/problems/{row.uid}/").json
    assert data["subject"] == {"type": "installation", "id": None, "name": "This installation"}
    assert (data["account"], data["subscription"], data["sample"]) == (None, None, None)


def test_filters(api: Api, missing: Problem, refused: Problem, hook: Subscription) -> None:
    unreachable = Problem.objects.get(kind="unreachable")

    def ids_of(query: str) -> set[str]:
        return {item["id"] for item in api.get(f"/problems/?{query}").json["results"]}

    everything = {str(row.uid) for row in (missing, refused, unreachable)}
    assert ids_of("") == everything
    assert ids_of("kind=missing&kind=credentials") == {str(missing.uid), str(refused.uid)}
    assert ids_of("severity=warning") == {str(unreachable.uid)}
    assert ids_of(f"subscription={hook.uid}") == {str(missing.uid)}
    assert ids_of(f"account={hook.account.uid}") == {str(missing.uid), str(unreachable.uid)}
    assert ids_of(f"account={UNKNOWN_ID}") == set()
    detector.resolve(missing, by="staff:ann")
    assert ids_of("state=resolved") == {str(missing.uid)}
    assert ids_of("state=open&state=acknowledged") == everything - {str(missing.uid)}


@pytest.mark.parametrize("query", ["color=red", "state=bad", "kind=bad", "severity=9", "account=1"])
def test_unknown_filters_are_400(api: Api, query: str) -> None:
    response = api.get(f"/problems/?{query}")
    assert (response.status, list(response.fields())) == (400, [query.partition("=")[0]])


def test_the_list_needs_few_queries_and_no_secrets(api: Api, refused: Problem) -> None:
    api.get("/providers/")  # writes down that the token is used
    with CaptureQueriesContext(connection) as queries:
        assert len(api.get("/problems/").json["results"]) == 3
    assert len(queries) == 2
    assert not any("secrets" in query["sql"] or "credentials" in query["sql"] for query in queries.captured_queries[1:])


def test_acknowledge(api: Api, missing: Problem) -> None:
    response = api.post(f"/problems/{missing.uid}/acknowledge/")
    assert (response.status, response.json["state"], response.json["acknowledged_by"]) == (
        200,
        "acknowledged",
        "api:ci",
    )
    again = api.post(f"/problems/{missing.uid}/acknowledge/")
    assert again.json == response.json == api.get(f"/problems/{missing.uid}/").json
    entry = HistoryEntry.objects.get(subject_type="problem")
    assert (entry.actor, entry.action, entry.subject_id) == ("api:ci", "acknowledged", str(missing.uid))


def test_a_resolved_problem_cannot_be_acknowledged(api: Api, missing: Problem) -> None:
    detector.resolve(missing, by="staff:ann")
    response = api.post(f"/problems/{missing.uid}/acknowledge/")
    assert (response.status, response.json["code"]) == (409, "conflict")


def test_resolve(api: Api, missing: Problem) -> None:
    response = api.post(f"/problems/{missing.uid}/resolve/")
    assert (response.status, response.json["state"], response.json["resolved_by"]) == (200, "resolved", "api:ci")
    assert api.post(f"/problems/{missing.uid}/resolve/").json == response.json
    assert HistoryEntry.objects.get(subject_type="problem").action == "resolved"


@pytest.mark.parametrize("end", ["acknowledge", "resolve"])
def test_actions_take_no_body(api: Api, missing: Problem, end: str) -> None:
    assert api.post(f"/problems/{missing.uid}/{end}/", {"force": True}).fields() == {"force": "unknown"}


def test_each_action_requires_its_scope(with_scopes: Issue, anonymous: Api, api: Api, missing: Problem) -> None:
    wrong = with_scopes("events:write", "accounts:write", "secrets:read")
    for method, path, scope, other in (
        ("GET", "/problems/", "subscriptions:read", "POST"),
        ("GET", f"/problems/{missing.uid}/", "subscriptions:read", "DELETE"),
        ("POST", f"/problems/{missing.uid}/acknowledge/", "subscriptions:write", "GET"),
        ("POST", f"/problems/{missing.uid}/resolve/", "subscriptions:write", "GET"),
    ):
        check_access(path, method, anonymous=anonymous, wrong=wrong, scope=scope, wrong_method=other, api=api)
    assert with_scopes("subscriptions:read").post(f"/problems/{missing.uid}/resolve/").status == 403


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("POST", "acknowledge/"), ("POST", "resolve/")])
@pytest.mark.parametrize("uid", [UNKNOWN_ID, "x"])
def test_unknown_and_malformed_ids_are_404(api: Api, method: str, end: str, uid: str) -> None:
    assert api.call(method, f"/problems/{uid}/{end}").status == 404
