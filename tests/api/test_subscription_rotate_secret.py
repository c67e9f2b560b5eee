"""/subscriptions/{id}/rotate-secret/ and forget/."""

from __future__ import annotations

import pytest
from django.test import Client

from events.receiver.rotation_signal import rotation_signals
from providers.contract.capabilities import Proof, SecretMadeBy
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import desired_state, secret_rotation
from subscriptions.models import Subscription
from subscriptions.reconciliation import sweep
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fake_provider import FakeProvider
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture(autouse=True)
def no_signals_recorded() -> None:
    rotation_signals.reset()


def send(path: str, secret: str) -> int:
    row = Subscription.objects.get(uid=path.strip("/").split("/")[-1])
    headers = {"Authorization": secret}
    return Client().post(f"/hooks/{row.token}", b"[]", content_type="application/json", headers=headers).status_code


def secret_of(api: Api, path: str) -> str:
    return str(api.post(f"{path}secret/").json["value"])


@pytest.mark.parametrize("action", ["rotate-secret", "forget"])
def test_access(with_scopes: Issue, anonymous: Api, api: Api, path: str, action: str, control: Control) -> None:
    calls = len(control.calls())
    check_access(
        f"{path}{action}/",
        "POST",
        anonymous=anonymous,
        wrong=with_scopes("subscriptions:read", "accounts:write", "events:write", "secrets:read"),
        scope="subscriptions:write",
        wrong_method="GET",
        api=api,
    )
    assert len(control.calls()) == calls
    assert api.post(f"/subscriptions/{UNKNOWN_ID}/{action}/").status == 404
    assert api.post(f"{path}{action}/", {"force": True}).fields() == {"force": "unknown"}
    assert api.post(f"{path}{action}/", **{"If-Match": '"another"'}).status == 412
    assert len(control.calls()) == calls


@pytest.mark.slow
def test_rotation_sends_a_new_secret_and_accepts_both(api: Api, path: str, control: Control) -> None:
    assert api.get(path).json["secret_rotation"] is None
    old = secret_of(api, path)
    response = api.post(f"{path}rotate-secret/")
    assert response.status == 200
    assert response.json["state"] == "active"
    rotation = response.json["secret_rotation"]
    assert set(rotation) == {"asked_at", "set_at", "seen", "old_accepted"}
    assert rotation["asked_at"] < rotation["set_at"]
    assert (rotation["seen"], rotation["old_accepted"]) == (False, True)
    new = secret_of(api, path)
    assert new != old
    assert control.remotes()[0]["authHeader"] == new
    assert [send(path, old), send(path, new)] == [200, 200]
    sweep.sweep_inline()
    assert api.get(path).json["secret_rotation"] is None
    assert [send(path, old), send(path, new)] == [401, 200]
    assert api.get(f"{path}plan/").json["steps"] == []


def test_rotation_is_logged_without_the_value(api: Api, path: str) -> None:
    old = secret_of(api, path)
    api.post(f"{path}rotate-secret/", {"revoke": False})
    entry = HistoryEntry.objects.get(action="secret rotation requested")
    assert entry.actor == "api:ci"
    assert entry.changes == [{"field": "old secret", "from": None, "to": "still accepted"}]
    shown = str([api.get(f"{path}{endpoint}/").json for endpoint in ("timeline", "operations")])
    assert old not in shown
    assert secret_of(api, path) not in shown
    (operation, _) = api.get(f"{path}operations/").json["results"]
    assert (operation["action"], operation["reason"], operation["actor"]) == (
        "update",
        "A new secret was requested.",
        "api:ci",
    )


def test_revoking_refuses_the_old_secret_at_once(api: Api, path: str, control: Control) -> None:
    old = secret_of(api, path)
    response = api.post(f"{path}rotate-secret/", {"revoke": True})
    assert response.status == 200
    assert response.json["secret_rotation"] is None, "the provider has the new secret, so the rotation is finished"
    assert [send(path, old), send(path, secret_of(api, path))] == [401, 200]


@pytest.mark.slow
def test_a_rotation_refused_by_the_provider_is_200_and_failing(api: Api, path: str, control: Control) -> None:
    old = secret_of(api, path)
    control.post("faults", status=400, times=2)
    response = api.post(f"{path}rotate-secret/")
    assert (response.status, response.json["state"]) == (200, "failing")
    assert response.json["last_error"]["code"] == "refused"
    assert response.json["secret_rotation"]["set_at"] is None
    assert send(path, old) == 200
    control.post("faults", times=0)
    assert api.post(f"{path}reconcile/").json["secret_rotation"]["set_at"]


def test_an_invalid_body_is_400(api: Api, path: str) -> None:
    assert api.post(f"{path}rotate-secret/", {"revoke": "yes"}).fields() == {"revoke": "invalid"}


def test_rotation_without_a_secret_is_409(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(proof=Proof.URL, secret_made_by=SecretMadeBy.NOBODY)
    response = api.post(f"/subscriptions/{hook.uid}/rotate-secret/")
    assert (response.status, response.json["code"]) == (409, "not_supported")


def test_rotation_of_a_secret_to_be_entered_is_409(api: Api, hook: Subscription) -> None:
    Subscription.objects.update(managed="manual")
    response = api.post(f"/subscriptions/{hook.uid}/rotate-secret/")
    assert (response.status, response.json["code"]) == (409, "not_supported")
    assert "enter it here" in response.json["detail"]


def test_rotation_of_a_manual_subscription_creates_a_secret_to_enter(api: Api, account: ProviderAccount) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed="manual")
    (old,) = row.secrets
    path = f"/subscriptions/{row.uid}/"
    response = api.post(f"{path}rotate-secret/")
    assert (response.status, response.json["secret_rotation"]["set_at"]) == (200, None)
    assert "Enter the new secret at the provider" in response.json["state_reason"]
    assert [send(path, old), send(path, secret_of(api, path))] == [200, 200]


@pytest.mark.slow
def test_too_many_rotations_and_deleted_subscriptions_are_409(api: Api, path: str) -> None:
    for _ in range(secret_rotation.MAX_ACCEPTED_SECRETS - 1):
        assert api.post(f"{path}rotate-secret/").status == 200
    response = api.post(f"{path}rotate-secret/")
    assert (response.status, response.json["code"]) == (409, "conflict")
    assert api.post(f"{path}rotate-secret/", {"revoke": True}).status == 200
    api.delete(path)
    assert api.post(f"{path}rotate-secret/").status == 409


# -- Forget ----------------------------------------------------------------------------------------------------------


def test_only_a_subscription_being_deleted_is_forgotten(api: Api, path: str, control: Control) -> None:
    response = api.post(f"{path}forget/")
    assert (response.status, response.json["code"]) == (409, "conflict")
    remote_id = api.get(path).json["remote_id"]
    control.post("faults", status=401, times=1000)
    assert api.delete(path).json["state"] == "deleting"
    response = api.post(f"{path}forget/")
    assert (response.status, response.json["state"], response.json["remote_id"]) == (200, "deleted", remote_id)
    assert remote_id in response.json["state_reason"]
    entry = HistoryEntry.objects.get(action="forgotten")
    assert (entry.actor, entry.changes[0]["to"]) == ("api:ci", remote_id)
    assert api.post(f"{path}forget/").status == 409
    account = api.get(path).json["account"]
    assert api.delete(f"/accounts/{account}/").status == 204
