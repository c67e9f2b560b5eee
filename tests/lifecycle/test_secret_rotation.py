"""Secret rotation at each provider that has a secret: no request is refused or lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from events.models import Outcome, WebhookRequest
from events.processing.normalize import normalize_pending
from events.processing.reprocess import reprocess_request
from events.receiver.rotation_signal import rotation_signals
from providers.conflict import NotSupported
from providers.contract.capabilities import Proof, SecretMadeBy
from providers.models import HistoryEntry, ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, actions, desired_state, secret_rotation
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, ProblemKind, State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.steps import StepAction
from subscriptions.problems import checks
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.dry_run import predict_plan
from subscriptions.reconciliation.live_plan import preview
from tests.harness.fake_provider import FakeProvider
from tests.harness.fixtures import CONFIG, Control
from tests.lifecycle.rotation import actions_at_provider, reconciled, secret_events, send, their_secret

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture(autouse=True)
def no_signals_recorded() -> None:
    rotation_signals.reset()


# -- A whole rotation ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_secrets_are_accepted_until_the_new_one_is_seen(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    new = active.secrets[0]
    assert active.secrets == [new, old]
    assert their_secret(control) == old
    assert [send(active, old), send(active, new)] == [200, 200], "both secrets are accepted"
    reconciled(active)
    assert their_secret(control) == new
    assert actions_at_provider(active) == ["register succeeded", "update succeeded"]
    assert active.operations.latest("id").reason == "A new secret was requested."
    assert active.state == State.ACTIVE
    assert "Both are accepted until a request uses the new one" in active.state_reason
    assert active.rotation is not None
    assert active.rotation.set_at is not None
    assert not active.rotation.seen, "a request before the provider had the new secret does not count"
    assert send(active, old) == 200
    reconciled(active)
    assert active.secrets == [new, old], "only a request with the new secret ends the rotation"
    rotation_signals.reset()
    assert send(active, new) == 200
    active.refresh_from_db()
    assert active.rotation is not None
    assert active.rotation.seen
    sweep.sweep_inline()
    active.refresh_from_db()
    assert (active.secrets, active.rotation) == ([new], None)
    assert [send(active, old), send(active, new)] == [401, 200]
    assert active.state == State.ACTIVE
    assert "secret" not in active.state_reason
    assert actions_at_provider(active) == ["register succeeded", "update succeeded"]
    assert secret_events(active) == [
        "secret rotation requested",
        "new secret seen in a request",
        "old secret no longer accepted",
    ]
    trail = str(list(HistoryEntry.objects.values_list("changes", "action")))
    assert old not in trail
    assert new not in trail


@pytest.mark.slow
def test_late_requests_with_a_retired_secret_can_be_released(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    send(active, active.secrets[0])
    reconciled(active)
    assert send(active, old) == 401
    request = WebhookRequest.objects.latest("id")
    assert request.outcome == Outcome.REJECTED
    assert reprocess_request(request).outcome == Outcome.REJECTED, (
        "former secrets count only if a person releases a single request"
    )
    assert reprocess_request(request, also_former=True).outcome != Outcome.REJECTED
    assert send(active, "neither of them") == 401
    assert reprocess_request(WebhookRequest.objects.latest("id"), also_former=True).outcome == Outcome.REJECTED


@pytest.mark.slow
def test_each_provider_gets_the_new_secret_and_the_old_one_is_retired(each: Subscription, sandbox: Sandbox) -> None:
    (old,) = each.secrets
    control = Control(sandbox.url, each.account.provider)
    secret_rotation.rotate(each, by="staff:ann")
    reconciled(each)
    assert each.state == State.ACTIVE, each.state_reason
    new = each.secrets[0]
    assert each.secrets == [new, old]
    assert len(control.remotes()) == 1
    assert each.secret_is_set
    made_by = each.account.plugin.capabilities.secret_made_by
    steps = [item.action for item in each.operations.order_by("id")][1:]
    assert steps == (["replace", "delete"] if made_by is SecretMadeBy.PROVIDER else ["update"])
    assert preview(each).steps == ()
    reconciled(each)
    assert len(actions_at_provider(each)) == 1 + len(steps), "the new secret is sent once"
    assert secret_rotation.record_seen(each.pk, new)
    reconciled(each)
    assert (each.secrets, each.rotation, each.state) == ([new], None, State.ACTIVE)
    assert new not in str(list(each.operations.values_list("request", "response")))
    assert old not in str(list(each.operations.values_list("request", "response")))


def test_a_secret_the_provider_never_shows_is_compared_with_the_last_one_sent(
    active: Subscription, control: Control
) -> None:
    control.post("options", hide_auth_header=True)
    reconciled(active)
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    reconciled(active)
    assert actions_at_provider(active) == ["register succeeded", "update succeeded"]
    assert their_secret(control) == active.secrets[0]
    assert active.secret_is_set


@pytest.mark.slow
def test_reported_drift_does_not_delay_a_new_secret(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", drift_policy=DriftPolicy.REPORT)
    reconciled(active)
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    assert their_secret(control) == active.secrets[0]


# -- Revoking --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_revoked_secret_is_refused_at_once(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    control.post("faults", status=500, times=100)
    secret_rotation.rotate(active, by="staff:ann", revoke=True)
    reconciled(active)
    assert send(active, old) == 401, "even though the provider still uses it"
    assert "The old one is no longer accepted" in active.state_reason
    assert active.state == State.FAILING
    assert active.rotation is not None
    control.post("faults", times=0)
    ProviderAccount.objects.update(calls_paused_until=None, calls_paused_for="")
    reconciled(active)
    assert their_secret(control) == active.secrets[0]
    assert active.rotation is None
    assert active.state == State.ACTIVE
    assert send(active, active.secrets[0]) == 200
    request = WebhookRequest.objects.get(outcome=Outcome.REJECTED)
    assert reprocess_request(request, also_former=True).outcome != Outcome.REJECTED, (
        "a person has decided that it is authentic"
    )


def test_a_revoked_provider_secret_is_refused_once_the_new_one_exists(sandbox: Sandbox) -> None:
    login = sandbox.logins("entrust")[0]
    account = accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    config = {"events": [{"type": "user.created"}], "expiry_days": 90}
    row = reconciled(desired_state.subscribe(account, config=config, by="staff:ann"))
    (old,) = row.secrets
    secret_rotation.rotate(row, by="staff:ann", revoke=True)
    row.refresh_from_db()
    assert row.secrets == [old], "without any secret, no request could be accepted"
    reconciled(row)
    assert len(row.secrets) == 1
    assert row.secrets != [old]
    assert row.rotation is None


# -- Manually managed subscriptions ----------------------------------------------------------------------------------


def test_a_manual_rotation_ends_with_the_first_request_using_the_new_secret(
    account: ProviderAccount,
) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed=Managed.MANUAL)
    (old,) = row.secrets
    assert send(row, old) == 200
    normalize_pending()
    reconciled(row)
    secret_rotation.rotate(row, by="staff:ann")
    reconciled(row)
    assert row.state == State.ACTIVE
    assert "Enter the new secret at the provider. Both are accepted" in row.state_reason
    assert send(row, old) == 200
    assert send(row, row.secrets[0]) == 200
    sweep.sweep_inline()
    row.refresh_from_db()
    assert len(row.secrets) == 1
    assert "secret" not in row.state_reason
    assert send(row, old) == 401


def test_a_provider_secret_of_a_manual_subscription_is_entered(hook: Subscription) -> None:
    Subscription.objects.update(managed=Managed.MANUAL)
    row = Subscription.objects.select_related("account").get()
    with pytest.raises(NotSupported, match="enter it here"):
        actions.check(row, SubscriptionAction.ROTATE)
    (old,) = row.secrets
    actions.enter_secret(row, "made-by-the-provider", by="staff:ann")
    assert row.secrets == ["made-by-the-provider", old]
    assert row.rotation is not None
    assert send(row, "made-by-the-provider") == 200
    sweep.sweep_inline()
    row.refresh_from_db()
    assert row.secrets == ["made-by-the-provider"]


def test_rotation_is_refused_without_a_secret(hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(proof=Proof.URL, secret_made_by=SecretMadeBy.NOBODY)
    with pytest.raises(NotSupported, match="callback URL alone"):
        actions.check(hook, SubscriptionAction.ROTATE)


# -- Problems and predictions ----------------------------------------------------------------------------------------


def test_an_overdue_rotation_is_a_problem_and_both_secrets_stay_accepted(active: Subscription) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    now = timezone.now()
    assert list(checks.subscriptions.rotations(now)) == []
    later = now + secret_rotation.OVERDUE_AFTER + timedelta(seconds=1)
    (cause,) = checks.subscriptions.rotations(later)
    assert cause.kind == ProblemKind.ROTATION
    assert "Both are accepted" in cause.message
    assert send(active, old) == 200


def test_the_steps_of_a_rotation_are_predicted(each: Subscription) -> None:
    made_by = each.account.plugin.capabilities.secret_made_by
    steps = [step.action for step in predict_plan(each, timezone.now(), SubscriptionAction.ROTATE).steps]
    replacement = [StepAction.REPLACE, StepAction.DELETE]
    assert steps == (replacement if made_by is SecretMadeBy.PROVIDER else [StepAction.UPDATE])


def test_the_state_reports_a_rotation_that_the_provider_refuses(active: Subscription, control: Control) -> None:
    control.post("faults", status=400, times=100)
    secret_rotation.rotate(active, by="staff:ann")
    reconciled(active)
    assert active.state == State.FAILING
    assert "Both are accepted until a request uses the new one" in active.state_reason
    assert active.drift == []
