"""Interrupted and concurrent secret rotations: no secret in use is ever lost."""

from __future__ import annotations

import pytest

from events.receiver.rotation_signal import rotation_signals
from providers.contract.capabilities import SecretMadeBy
from providers.contract.errors import Unavailable
from providers.contract.registry import all_providers
from providers.entrust.provider import Entrust
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, secret_rotation
from subscriptions.models import FormerSecret, State, Subscription
from subscriptions.planning.steps import Step, StepAction
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.apply import Boundary
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fake_provider import run_concurrently
from tests.harness.fixtures import CONFIG, Control, later
from tests.lifecycle.rotation import ROTATABLE, during, reconciled, their_secret

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture(autouse=True)
def no_signals_recorded() -> None:
    rotation_signals.reset()


class Killed(BaseException):
    """Simulate the end of the process: no code after this runs, not even error handling."""


def kill_at(monkeypatch: pytest.MonkeyPatch, action: StepAction, where: Boundary) -> None:
    killed: list[bool] = []

    def mark_boundary(step: Step, boundary: Boundary) -> None:
        if (step.action, boundary) == (action, where) and not killed:
            killed.append(True)
            raise Killed

    monkeypatch.setattr("subscriptions.reconciliation.apply.mark_boundary", mark_boundary)


def steps_of(slug: str) -> tuple[StepAction, ...]:
    """Return the steps of a rotation at a provider."""
    made_by = all_providers()[slug].capabilities.secret_made_by
    return (StepAction.REPLACE, StepAction.DELETE) if made_by is SecretMadeBy.PROVIDER else (StepAction.UPDATE,)


@pytest.mark.slow
@pytest.mark.parametrize("where", list(Boundary))
@pytest.mark.parametrize(
    ("each", "action"), [(slug, action) for slug in ROTATABLE for action in steps_of(slug)], indirect=["each"]
)
def test_a_kill_at_any_boundary_leaves_one_authenticating_registration(
    each: Subscription, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, where: Boundary, action: StepAction
) -> None:
    made_by = each.account.plugin.capabilities.secret_made_by
    control = Control(sandbox.url, each.account.provider)
    (old,) = each.secrets
    secret_rotation.rotate(each, by="staff:ann")
    kill_at(monkeypatch, action, where)
    with pytest.raises(Killed):
        reconcile(each, details=True)
    Subscription.objects.update(claimed_until=None)
    again = Subscription.objects.select_related("account").get(pk=each.pk)
    with later():  # an answer that was lost is waited for
        reconciled(again)
        reconciled(again)
        assert again.state == State.ACTIVE, again.state_reason
        assert again.secret_is_set
        (remote,) = control.remotes()
        assert remote["remote_id"] == again.remote_id
        assert old in again.secrets, "the old secret is accepted until the new one is seen"
        if made_by is SecretMadeBy.PROVIDER:
            assert (again.secrets[0], again.secret_for) == (remote["token"], remote["remote_id"])
        assert secret_rotation.record_seen(again.pk, again.secrets[0])
        reconciled(again)
        assert len(again.secrets) == 1
        assert again.rotation is None


@pytest.mark.slow
@pytest.mark.parametrize("where", list(Boundary))
def test_a_rotation_requested_during_another_follows_it(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch, where: Boundary
) -> None:
    (first,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    second = active.secrets[0]
    other = Subscription.objects.select_related("account").get(pk=active.pk)
    during(monkeypatch, StepAction.UPDATE, where, lambda: secret_rotation.rotate(other, by="staff:bob"))
    reconcile(active)
    active.refresh_from_db()
    third = active.secrets[0]
    assert active.secrets == [third, second, first]
    sweep.sweep_inline()
    active.refresh_from_db()
    assert their_secret(control) == third
    assert not secret_rotation.record_seen(active.pk, second), "it is not the newest secret"
    assert secret_rotation.record_seen(active.pk, third)
    sweep.sweep_inline()
    active.refresh_from_db()
    assert active.secrets == [third]
    assert sorted(FormerSecret.objects.values_list("value", flat=True)) == sorted([first, second])


def test_a_secret_seen_during_a_reconciliation_is_recorded(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    new = active.secrets[0]
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    during(monkeypatch, StepAction.UPDATE, Boundary.WRITTEN, lambda: secret_rotation.record_seen(active.pk, new))
    reconcile(active)
    sweep.sweep_inline()
    active.refresh_from_db()
    assert active.secrets == [new]


def test_a_rotation_requested_while_the_old_secret_is_retired_keeps_it(active: Subscription, control: Control) -> None:
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    new = active.secrets[0]
    secret_rotation.record_seen(active.pk, new)
    stale = Subscription.objects.select_related("account").get(pk=active.pk)
    secret_rotation.rotate(active, by="staff:bob")
    assert not secret_rotation.finish_rotation(stale, settled=True)
    active.refresh_from_db()
    assert new in active.secrets
    assert len(active.secrets) == 3


@pytest.mark.django_db(transaction=True)
def test_concurrent_rotations_lose_no_secret(active: Subscription) -> None:
    (first,) = active.secrets

    def rotate() -> None:
        secret_rotation.rotate(Subscription.objects.select_related("account").get(pk=active.pk), by="staff:ann")

    run_concurrently(rotate, rotate)
    active.refresh_from_db()
    assert len(active.secrets) == 3
    assert active.secrets[-1] == first
    assert active.secret_no == 3


@pytest.mark.slow
def test_too_many_rotations_are_refused_until_secrets_are_revoked(active: Subscription) -> None:
    for _ in range(secret_rotation.MAX_ACCEPTED_SECRETS - 1):
        secret_rotation.rotate(active, by="staff:ann")
    with pytest.raises(secret_rotation.TooManyRotations):
        secret_rotation.rotate(active, by="staff:ann")
    secret_rotation.rotate(active, by="staff:ann", revoke=True)
    assert len(active.secrets) == 1
    assert FormerSecret.objects.count() == secret_rotation.MAX_FORMER_SECRETS


def test_entrust_accepts_the_old_token_until_the_old_webhook_is_deleted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = sandbox.logins("entrust")[0]
    account = accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    config = {"events": [{"type": "user.created"}], "expiry_days": 90}
    row = reconciled(desired_state.subscribe(account, config=config, by="staff:ann"))
    (old,) = row.secrets

    def unreachable(*_: object, **__: object) -> None:
        raise Unavailable("Not now.")

    delete = Entrust.delete
    monkeypatch.setattr(Entrust, "delete", unreachable)
    secret_rotation.rotate(row, by="staff:ann")
    reconciled(row)
    assert secret_rotation.record_seen(row.pk, row.secrets[0])
    reconciled(row)
    assert row.secrets[1:] == [old]
    monkeypatch.setattr(Entrust, "delete", delete)
    reconciled(row)
    assert len(row.secrets) == 1
