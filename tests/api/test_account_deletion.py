"""DELETE /accounts/{id}/?remove_subscriptions=true, and /accounts/{id}/keep/."""

from __future__ import annotations

import pytest

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import account_deletion, desired_state
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import sweep
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

TOGETHER = "?remove_subscriptions=true"


def test_subscriptions_are_deleted_before_the_account(
    api: Api, active: Subscription, account_path: str, control: Control
) -> None:
    response = api.delete(account_path + TOGETHER)
    assert (response.status, response.json["id"]) == (202, str(active.account.uid))
    assert response.json["removal_asked_at"]
    assert not Subscription.objects.get().present
    sweep.sweep_inline()
    assert control.remotes() == []
    sweep.sweep_inline()
    assert api.get(account_path).status == 404
    deleted_account = ProviderAccount.with_deleted.get(pk=active.account_id)
    assert (deleted_account.credentials, deleted_account.removal_asked_at) == ({}, None)
    actions = HistoryEntry.objects.filter(actor="api:ci").order_by("id").values_list("subject_type", "action")
    assert [item for item in actions if item[1] != "state changed"] == [
        ("account", "deletion with subscriptions requested"),
        ("subscription", "deleted"),
        ("account", "deleted"),
    ]
    assert sweep.sweep_inline() == 0


@pytest.mark.slow
def test_deletion_waits_while_the_provider_refuses(
    api: Api, active: Subscription, account_path: str, control: Control
) -> None:
    api.delete(account_path + TOGETHER)
    control.post("faults", status=500, times=50)
    for _ in range(2):
        sweep.sweep_inline()
    assert api.get(account_path).status == 200
    control.post("faults", times=0)
    Subscription.objects.update(due_at=active.created_at)
    for _ in range(2):
        sweep.sweep_inline()
    assert api.get(account_path).status == 404


def test_a_waiting_deletion_can_be_cancelled(
    api: Api, active: Subscription, account_path: str, control: Control
) -> None:
    control.post("faults", status=500, times=1)
    api.delete(account_path + TOGETHER)
    response = api.post(f"{account_path}keep/")
    assert (response.status, response.json["removal_asked_at"]) == (200, None)
    Subscription.objects.update(due_at=active.created_at)
    for _ in range(3):
        sweep.sweep_inline()
    assert api.get(account_path).status == 200
    assert api.get(f"/subscriptions/{active.uid}/").json["state"] == "deleted", "that was under way already"
    assert HistoryEntry.objects.filter(action="deletion cancelled", actor="api:ci").exists()
    again = api.post(f"{account_path}keep/")
    assert (again.status, again.json["code"]) == (409, "conflict")


def test_no_subscription_is_added_during_the_deletion(api: Api, active: Subscription, account_path: str) -> None:
    api.delete(account_path + TOGETHER)
    response = api.post("/subscriptions/", {"account": str(active.account.uid), "config": CONFIG})
    assert (response.status, response.json["code"]) == (409, "conflict")
    assert "being deleted" in response.json["detail"]


def test_the_worker_resumes_a_deletion_after_a_crash(
    active: Subscription, account: ProviderAccount, control: Control
) -> None:
    second = desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Second")
    account_deletion.request_deletion(account, by="staff:ann")  # then the process crashed
    assert Subscription.objects.filter(present=True).count() == 2
    desired_state.request_deletion(second, by="staff:ann")  # or it crashed after the first
    for _ in range(2):
        sweep.sweep_inline()
    assert control.remotes() == []
    assert not ProviderAccount.objects.exists()
    assert set(Subscription.objects.values_list("state", flat=True)) == {State.DELETED}


def test_a_second_deletion_request_changes_nothing(api: Api, active: Subscription, account_path: str) -> None:
    first = api.delete(account_path + TOGETHER).json["removal_asked_at"]
    assert api.delete(account_path + TOGETHER).json["removal_asked_at"] == first
    assert HistoryEntry.objects.filter(action="deletion with subscriptions requested").count() == 1


@pytest.mark.slow
def test_many_subscriptions_are_deleted_in_batches(account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_deletion, "BATCH_SIZE", 2)
    for _ in range(5):
        desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed="manual")
    account_deletion.request_deletion(account, by="staff:ann")
    assert [account_deletion.continue_deletion(account.pk) for _ in range(4)] == [False, False, True, False]


def test_without_subscriptions_the_account_is_deleted_at_once(
    api: Api, account: ProviderAccount, account_path: str
) -> None:
    desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed="manual")
    response = api.delete(account_path + TOGETHER)
    assert (response.status, response.json) == (204, None)
    assert api.get(account_path).status == 404


def test_cancelling_within_a_batch_stops_the_deletion(
    account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    account_deletion.request_deletion(account, by="staff:ann")
    original = desired_state.request_deletion

    def remove(row: Subscription, *, by: str) -> None:
        original(row, by=by)
        account_deletion.cancel_deletion(account, by="staff:bob")

    monkeypatch.setattr(desired_state, "request_deletion", remove)
    assert account_deletion.continue_deletion(account.pk) is False
    assert Subscription.objects.filter(present=True).count() == 2
    assert ProviderAccount.objects.exists()


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?remove_subscriptions=yes", {"remove_subscriptions": "invalid"}),
        ("?remove_subscriptions=true&remove_subscriptions=true", {"remove_subscriptions": "invalid"}),
        ("?force=true", {"force": "unknown"}),
    ],
)
def test_other_parameters_are_refused(api: Api, account_path: str, query: str, fields: dict[str, str]) -> None:
    response = api.delete(account_path + query)
    assert (response.status, response.fields()) == (400, fields)
    assert api.get(account_path).status == 200


def test_without_the_parameter_an_account_in_use_stays(api: Api, active: Subscription, account_path: str) -> None:
    for query in ("", "?remove_subscriptions=false"):
        assert api.delete(account_path + query).json["code"] == "account_in_use"
    assert api.delete(account_path + TOGETHER, **{"If-Match": '"stale"'}).status == 412


def test_access(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    check_access(
        f"{account_path}keep/",
        "POST",
        anonymous=anonymous,
        wrong=with_scopes("subscriptions:write"),
        scope="accounts:write",
        wrong_method="GET",
        api=api,
    )
    assert api.post(f"/accounts/{UNKNOWN_ID}/keep/").status == 404
    assert api.post(f"{account_path}keep/", {"a": 1}).fields() == {"a": "unknown"}
