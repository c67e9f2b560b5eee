"""DELETE /accounts/{id}/remote-subscriptions/{remote_id}/, and its ignore/."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from providers.egnyte_connect.provider import EgnyteConnect
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.models import RemoteNote, Subscription
from subscriptions.reconciliation import account_sync
from subscriptions.reconciliation.observe import observe
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def path_of(account_path: str, remote_id: object) -> str:
    return f"{account_path}remote-subscriptions/{remote_id}/"


def kinds(api: Api, account_path: str) -> dict[str, tuple[str, bool]]:
    results = api.get(f"{account_path}remote-subscriptions/").json["results"]
    return {item["remote_id"]: (item["kind"], item["ignored"]) for item in results}


# -- Deleting --------------------------------------------------------------------------------------------------------


def test_deleting_an_orphan_is_logged(api: Api, account_path: str, orphan: str, control: Control) -> None:
    assert kinds(api, account_path) == {orphan: ("orphaned", False)}
    response = api.delete(path_of(account_path, orphan))
    assert (response.status, response.json) == (204, None)
    assert control.remotes() == []
    started, removed = HistoryEntry.objects.filter(action__startswith="orphan").order_by("id")
    assert (started.action, removed.action, removed.actor) == ("orphan deletion started", "orphan deleted", "api:ci")
    data: dict[str, Any] = {change["field"]: change["to"] for change in removed.changes}
    assert data["remote_id"] == orphan
    assert (data["request"]["method"], data["response"]["status"]) == ("DELETE", 204)
    assert orphan in data["request"]["url"]
    assert not RemoteNote.objects.exists()
    assert api.delete(path_of(account_path, orphan)).status == 404


def test_only_an_orphan_can_be_deleted(
    api: Api, account_path: str, active: Subscription, foreign: str, control: Control
) -> None:
    for remote_id, message in ((foreign, "Foreign"), (active.remote_id, "subscription")):
        response = api.delete(path_of(account_path, remote_id))
        assert (response.status, response.json["code"]) == (409, "conflict")
        assert message in response.json["detail"]
    assert len(control.remotes()) == 2
    assert control.calls("DELETE") == []
    assert not HistoryEntry.objects.filter(action__startswith="orphan").exists()


def test_an_imported_remote_is_no_orphan(api: Api, account_path: str, orphan: str) -> None:
    assert api.post(f"{account_path}import/", {"remote_id": orphan}).status == 201
    assert kinds(api, account_path) == {orphan: ("managed", False)}
    assert api.delete(path_of(account_path, orphan)).status == 409


def test_a_remote_whose_url_changed_meanwhile_stays(api: Api, account_path: str, orphan: str, control: Control) -> None:
    kinds(api, account_path)  # caches its URL
    control.post(f"remote/{orphan}", config={"url": "https://elsewhere.example/in"})
    response = api.delete(path_of(account_path, orphan))
    assert (response.status, len(control.remotes())) == (409, 1)


def test_a_remote_that_becomes_managed_meanwhile_stays(
    api: Api, account: ProviderAccount, account_path: str, orphan: str, control: Control
) -> None:
    def observe_and_import(*args: Any, **kwargs: Any) -> Any:
        seen = observe(*args, **kwargs)
        Subscription.objects.create(account=account, config=CONFIG, remote_id=orphan)
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subscriptions.remote.inventory.observe", observe_and_import)
        assert api.delete(path_of(account_path, orphan)).status == 409
    assert len(control.remotes()) == 1
    assert not RemoteNote.objects.filter(removing_until__gt=timezone.now()).exists()


def test_no_import_during_the_deletion(
    api: Api, account_path: str, orphan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, statuses = EgnyteConnect.delete, []

    def delete(*args: Any) -> None:
        monkeypatch.undo()
        statuses.append(api.post(f"{account_path}import/", {"remote_id": orphan}).status)
        statuses.append(api.delete(path_of(account_path, orphan)).status)
        original(*args)

    monkeypatch.setattr(EgnyteConnect, "delete", delete)
    assert api.delete(path_of(account_path, orphan)).status == 204
    assert statuses == [409, 409]
    assert not Subscription.objects.exists()


def test_a_crash_blocks_an_import_for_a_minute_only(
    api: Api, account_path: str, account: ProviderAccount, orphan: str
) -> None:
    note = RemoteNote.objects.create(
        account=account, remote_id=orphan, removing_until=timezone.now() + timedelta(seconds=30)
    )
    assert api.post(f"{account_path}import/", {"remote_id": orphan}).status == 409
    RemoteNote.objects.filter(pk=note.pk).update(removing_until=timezone.now())
    assert api.post(f"{account_path}import/", {"remote_id": orphan}).status == 201


def test_a_failure_is_502_and_logged_and_can_be_retried(
    api: Api, account_path: str, orphan: str, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = EgnyteConnect.delete

    def delete(*args: Any) -> None:
        control.post("faults", status=500, times=1)
        original(*args)

    monkeypatch.setattr(EgnyteConnect, "delete", delete)
    response = api.delete(path_of(account_path, orphan))
    assert (response.status, response.json["code"]) == (502, "provider_error")
    entry = HistoryEntry.objects.latest("id")
    assert entry.action.startswith("orphan deletion")
    assert "error" in {change["field"] for change in entry.changes}
    monkeypatch.undo()
    assert api.delete(path_of(account_path, orphan)).status == 204


@pytest.mark.slow
def test_no_orphan_is_deleted_before_the_address_is_confirmed(
    api: Api, account_path: str, active: Subscription, orphan: str, settings: Settings, control: Control
) -> None:
    former, settings.PUBLIC_URL = settings.PUBLIC_URL, "https://copy.example.test"
    Subscription.objects.filter(pk=active.pk).update(deleted_at=timezone.now(), state="deleted")
    elsewhere = desired_state.subscribe(active.account, config=CONFIG, by="staff:ann")
    Subscription.objects.filter(pk=elsewhere.pk).update(callback_url=f"{former}/hooks/{elsewhere.token}")
    response = api.delete(path_of(account_path, active.remote_id))
    assert (response.status, "address" in response.json["detail"]) == (409, True)
    assert len(control.remotes()) == 2


def test_the_scheduler_never_deletes_an_orphan(
    api: Api, account_path: str, active: Subscription, orphan: str, control: Control
) -> None:
    kinds(api, account_path)
    account_sync.sync_account(active.account)
    assert len(control.remotes()) == 2


def test_access(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    for have, miss in (("accounts:write", "subscriptions:write"), ("subscriptions:write", "accounts:read")):
        check_access(
            path_of(account_path, "a"),
            "DELETE",
            anonymous=anonymous,
            wrong=with_scopes(have),
            scope=miss,
            wrong_method="GET",
            api=api,
        )
    assert api.delete(path_of(f"/accounts/{UNKNOWN_ID}/", "a")).status == 404
    for remote_id in ("nothing", "%00", "x" * 201):
        assert api.delete(path_of(account_path, remote_id)).status == 404


# -- Ignoring --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_foreign_remote_is_ignored_and_shown_again(
    api: Api, account_path: str, foreign: str, control: Control
) -> None:
    assert kinds(api, account_path) == {foreign: ("foreign", False)}
    writes = [call for call in control.calls() if call["method"] != "GET"]
    for _ in range(2):
        assert api.post(f"{path_of(account_path, foreign)}ignore/").status == 204
    assert kinds(api, account_path) == {foreign: ("foreign", True)}
    for _ in range(2):
        assert api.delete(f"{path_of(account_path, foreign)}ignore/").status == 204
    assert kinds(api, account_path) == {foreign: ("foreign", False)}
    actions = list(HistoryEntry.objects.order_by("-id").values_list("action", flat=True)[:2])
    assert actions == ["remote subscription no longer ignored", "remote subscription ignored"]
    assert HistoryEntry.objects.filter(action__contains="ignored").count() == 2
    assert [call for call in control.calls() if call["method"] != "GET"] == writes


def test_ignoring_survives_a_list_without_the_remote(
    api: Api, account: ProviderAccount, account_path: str, foreign: str
) -> None:
    kinds(api, account_path)
    api.post(f"{path_of(account_path, foreign)}ignore/")
    account.known_remotes.all().delete()
    assert kinds(api, account_path) == {foreign: ("foreign", True)}


def test_a_managed_remote_cannot_be_ignored(api: Api, account_path: str, active: Subscription, foreign: str) -> None:
    assert api.post(f"{path_of(account_path, active.remote_id)}ignore/").status == 409
    kinds(api, account_path)
    api.post(f"{account_path}import/", {"remote_id": foreign})
    assert api.post(f"{path_of(account_path, foreign)}ignore/").status == 409


def test_importing_an_ignored_remote_ends_ignoring(api: Api, account_path: str, foreign: str) -> None:
    kinds(api, account_path)
    api.post(f"{path_of(account_path, foreign)}ignore/")
    assert api.post(f"{account_path}import/", {"remote_id": foreign}).status == 201
    assert kinds(api, account_path) == {foreign: ("managed", False)}


def test_access_to_ignoring(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    for method in ("POST", "DELETE"):
        check_access(
            f"{path_of(account_path, 'a')}ignore/",
            method,
            anonymous=anonymous,
            wrong=with_scopes("accounts:write"),
            scope="subscriptions:write",
            wrong_method="GET",
            api=api,
        )
        assert api.call(method, f"{path_of(f'/accounts/{UNKNOWN_ID}/', 'a')}ignore/").status == 404
    assert api.post(f"{path_of(account_path, 'nothing')}ignore/").status == 404
    assert api.post(f"{path_of(account_path, 'nothing')}ignore/", {"why": 1}).fields() == {"why": "unknown"}
