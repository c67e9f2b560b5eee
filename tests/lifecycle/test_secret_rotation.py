"""Secrets are rotated at each provider that has one, and nothing is refused or lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from events.models import Outcome, WebhookRequest
from events.processing.normalize import normalize_pending
from events.processing.reprocess import reprocess_request
from events.receiver.rotation_signal import rotation_signals
from providers.conflict import Conflict, NotSupported
from providers.contract.capabilities import Proof, SecretMadeBy
from providers.contract.errors import Refused, Unavailable
from providers.contract.registry import all_providers
from providers.egnyte_connect.provider import EgnyteConnect
from providers.entrust.provider import Entrust
from providers.models import HistoryEntry, ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, actions, desired_state, secret_rotation
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import FormerSecret, Managed, ProblemKind, State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.steps import Step, StepAction
from subscriptions.problems import checks
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.apply import Boundary
from subscriptions.reconciliation.dry_run import predict_plan
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.timeline import SECRET, Timeline
from tests.harness.fake_provider import FakeProvider, run_concurrently
from tests.harness.fixtures import CONFIG, Control
from tests.harness.provider_contract import contract_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

ROTATABLE = [slug for slug, plugin in all_providers().items() if plugin.capabilities.proof is not Proof.URL]


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    rotation_signals.reset()


def settled(row: Subscription) -> Subscription:
    assert reconcile(row, details=True)
    row.refresh_from_db()
    return row


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    assert settled(subscription).state == State.ACTIVE, subscription.state_reason
    return subscription


@pytest.fixture(params=ROTATABLE)
def each(request: pytest.FixtureRequest, sandbox: Sandbox) -> Subscription:
    """Return an active subscription at each provider that has a secret."""
    slug = request.param
    contract = contract_of(slug)
    control = Control(sandbox.url, slug)
    options = {**(contract.sandbox_options or {}), **({"calls_per_second": None} if slug == "egnyte-connect" else {})}
    if options:
        control.post("options", **options)
    login = sandbox.logins(slug)[0]
    pace = {"calls_per_second": 100} if "calls_per_second" in all_providers()[slug].settings_model.model_fields else {}
    account = accounts.add_account(
        provider=slug,
        name="Spare",
        settings={**login["settings"], **pace},
        credentials=login["credentials"],
        by="staff:ann",
    )
    row = desired_state.subscribe(account, config=dict(contract.config), by="staff:ann", name="Turning")
    assert settled(row).state == State.ACTIVE, row.state_reason
    return row


def send(row: Subscription, secret: str) -> int:
    """Send a request with this secret, as Egnyte does, and return the status."""
    return (
        Client()
        .post(f"/hooks/{row.token}", b"[]", content_type="application/json", headers={"Authorization": secret})
        .status_code
    )


def actions_at_provider(row: Subscription) -> list[str]:
    return [f"{item.action} {item.status}" for item in row.operations.order_by("id")]


def told(row: Subscription) -> list[str]:
    """Return the timeline entries about secrets, oldest first."""
    entries = Timeline(row, frozenset({SECRET})).part(20)
    return [entry.what for entry in reversed(entries)]


def their_secret(control: Control) -> str:
    (remote,) = control.remotes()
    return str(remote["authHeader"])


# -- The whole of it -------------------------------------------------------------------------------------------------


def test_both_are_accepted_until_the_new_one_is_seen(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    new = active.secrets[0]
    assert active.secrets == [new, old]
    assert their_secret(control) == old
    assert [send(active, old), send(active, new)] == [200, 200], "whoever is first, nothing is refused"
    settled(active)
    assert their_secret(control) == new
    assert actions_at_provider(active) == ["register succeeded", "update succeeded"]
    assert active.operations.latest("id").reason == "A new secret was requested."
    assert active.state == State.ACTIVE
    assert "Both are accepted until a request uses the new one" in active.state_reason
    assert active.rotation is not None
    assert active.rotation.set_at is not None
    assert not active.rotation.seen, "the one that came before the provider had it was no proof of that"
    assert send(active, old) == 200
    settled(active)
    assert active.secrets == [new, old], "only the new one ends it"
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
    assert told(active) == [
        "secret rotation asked for",
        "new secret seen in a request",
        "old secret no longer accepted",
    ]
    trail = str(list(HistoryEntry.objects.values_list("changes", "action")))
    assert old not in trail
    assert new not in trail


def test_what_comes_too_late_is_kept_and_a_person_can_release_it(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    send(active, active.secrets[0])
    settled(active)
    assert send(active, old) == 401
    request = WebhookRequest.objects.latest("id")
    assert request.outcome == Outcome.REJECTED
    assert reprocess_request(request).outcome == Outcome.REJECTED, "not among many at once"
    assert reprocess_request(request, also_former=True).outcome != Outcome.REJECTED
    assert send(active, "neither of them") == 401
    assert reprocess_request(WebhookRequest.objects.latest("id"), also_former=True).outcome == Outcome.REJECTED


def test_at_each_provider_the_new_secret_is_used_and_the_old_one_goes(each: Subscription, sandbox: Sandbox) -> None:
    (old,) = each.secrets
    control = Control(sandbox.url, each.account.provider)
    secret_rotation.rotate(each, by="staff:ann")
    settled(each)
    assert each.state == State.ACTIVE, each.state_reason
    new = each.secrets[0]
    assert each.secrets == [new, old]
    assert len(control.remotes()) == 1
    assert each.secret_is_set
    made_by = each.account.plugin.capabilities.secret_made_by
    steps = [item.action for item in each.operations.order_by("id")][1:]
    assert steps == (["replace", "delete"] if made_by is SecretMadeBy.PROVIDER else ["update"])
    assert preview(each).steps == ()
    settled(each)
    assert len(actions_at_provider(each)) == 1 + len(steps), "it is sent once"
    assert secret_rotation.record_seen(each.pk, new)
    settled(each)
    assert (each.secrets, each.rotation, each.state) == ([new], None, State.ACTIVE)
    assert new not in str(list(each.operations.values_list("request", "response")))
    assert old not in str(list(each.operations.values_list("request", "response")))


def test_where_the_provider_never_shows_it_what_was_sent_last_counts(active: Subscription, control: Control) -> None:
    control.post("options", hide_auth_header=True)
    settled(active)
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    settled(active)
    assert actions_at_provider(active) == ["register succeeded", "update succeeded"]
    assert their_secret(control) == active.secrets[0]
    assert active.secret_is_set


def test_only_reported_drift_does_not_keep_a_new_secret_back(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", drift_policy=DriftPolicy.REPORT)
    settled(active)
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    assert their_secret(control) == active.secrets[0]


# -- Revoking --------------------------------------------------------------------------------------------------------


def test_a_revoked_one_is_refused_at_once_and_nothing_is_waited_for(active: Subscription, control: Control) -> None:
    (old,) = active.secrets
    control.post("faults", status=500, times=100)
    secret_rotation.rotate(active, by="staff:ann", revoke=True)
    settled(active)
    assert send(active, old) == 401, "although the provider still uses it"
    assert "The old one is no longer accepted" in active.state_reason
    assert active.state == State.FAILING
    assert active.rotation is not None
    control.post("faults", times=0)
    ProviderAccount.objects.update(calls_paused_until=None, calls_paused_for="")
    settled(active)
    assert their_secret(control) == active.secrets[0]
    assert active.rotation is None
    assert active.state == State.ACTIVE
    assert send(active, active.secrets[0]) == 200
    request = WebhookRequest.objects.get(outcome=Outcome.REJECTED)
    assert reprocess_request(request, also_former=True).outcome != Outcome.REJECTED, (
        "a person has decided that it was genuine"
    )


def test_a_revoked_one_of_the_providers_making_goes_when_the_new_one_is_there(sandbox: Sandbox) -> None:
    login = sandbox.logins("entrust")[0]
    account = accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    config = {"events": [{"type": "user.created"}], "expiry_days": 90}
    row = settled(desired_state.subscribe(account, config=config, by="staff:ann"))
    (old,) = row.secrets
    secret_rotation.rotate(row, by="staff:ann", revoke=True)
    row.refresh_from_db()
    assert row.secrets == [old], "without any, nothing could be accepted and nothing kept"
    settled(row)
    assert len(row.secrets) == 1
    assert row.secrets != [old]
    assert row.rotation is None


# -- Dying, and others at the same time ------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing after this runs, not even what handles errors."""


def kill_at(monkeypatch: pytest.MonkeyPatch, action: StepAction, where: Boundary) -> None:
    done: list[bool] = []

    def passed(step: Step, boundary: Boundary) -> None:
        if (step.action, boundary) == (action, where) and not done:
            done.append(True)
            raise Killed

    monkeypatch.setattr("subscriptions.reconciliation.apply.passed", passed)


def steps_of(slug: str) -> tuple[StepAction, ...]:
    """Return the steps of a rotation at a provider."""
    made_by = all_providers()[slug].capabilities.secret_made_by
    return (StepAction.REPLACE, StepAction.DELETE) if made_by is SecretMadeBy.PROVIDER else (StepAction.UPDATE,)


@pytest.mark.parametrize("where", list(Boundary))
@pytest.mark.parametrize(
    ("each", "action"), [(slug, action) for slug in ROTATABLE for action in steps_of(slug)], indirect=["each"]
)
def test_a_kill_at_any_boundary_leaves_one_that_proves_itself(
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
    settled(again)
    settled(again)
    assert again.state == State.ACTIVE, again.state_reason
    assert again.secret_is_set
    (remote,) = control.remotes()
    assert remote["remote_id"] == again.remote_id
    assert old in again.secrets, "it is accepted until the new one is seen"
    if made_by is SecretMadeBy.PROVIDER:
        assert (again.secrets[0], again.secret_for) == (remote["token"], remote["remote_id"])
    assert secret_rotation.record_seen(again.pk, again.secrets[0])
    settled(again)
    assert len(again.secrets) == 1
    assert again.rotation is None


def during(monkeypatch: pytest.MonkeyPatch, action: StepAction, where: Boundary, happens: Callable[[], object]) -> None:
    done: list[bool] = []

    def passed(step: Step, boundary: Boundary) -> None:
        if (step.action, boundary) == (action, where) and not done:
            done.append(True)
            happens()

    monkeypatch.setattr("subscriptions.reconciliation.apply.passed", passed)


@pytest.mark.parametrize("where", list(Boundary))
def test_a_rotation_that_is_asked_for_during_another_is_done_next(
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
    assert not secret_rotation.record_seen(active.pk, second), "it is not the newest"
    assert secret_rotation.record_seen(active.pk, third)
    sweep.sweep_inline()
    active.refresh_from_db()
    assert active.secrets == [third]
    assert sorted(FormerSecret.objects.values_list("value", flat=True)) == sorted([first, second])


def test_one_that_is_seen_during_a_run_is_not_forgotten(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    new = active.secrets[0]
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    during(monkeypatch, StepAction.UPDATE, Boundary.WRITTEN, lambda: secret_rotation.record_seen(active.pk, new))
    reconcile(active)
    sweep.sweep_inline()
    active.refresh_from_db()
    assert active.secrets == [new]


def test_a_rotation_asked_for_just_when_the_old_one_goes_keeps_what_it_needs(
    active: Subscription, control: Control
) -> None:
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    new = active.secrets[0]
    secret_rotation.record_seen(active.pk, new)
    stale = Subscription.objects.select_related("account").get(pk=active.pk)
    secret_rotation.rotate(active, by="staff:bob")
    assert not secret_rotation.finish_rotation(stale, settled=True)
    active.refresh_from_db()
    assert new in active.secrets
    assert len(active.secrets) == 3


@pytest.mark.django_db(transaction=True)
def test_two_rotations_at_once_lose_no_secret(active: Subscription) -> None:
    (first,) = active.secrets

    def ask() -> None:
        secret_rotation.rotate(Subscription.objects.select_related("account").get(pk=active.pk), by="staff:ann")

    run_concurrently(ask, ask)
    active.refresh_from_db()
    assert len(active.secrets) == 3
    assert active.secrets[-1] == first
    assert active.secret_no == 3


def test_so_many_rotations_under_way_are_refused_until_one_is_revoked(active: Subscription) -> None:
    for _ in range(secret_rotation.MAX_ACCEPTED_SECRETS - 1):
        secret_rotation.rotate(active, by="staff:ann")
    with pytest.raises(secret_rotation.TooManyRotations):
        secret_rotation.rotate(active, by="staff:ann")
    secret_rotation.rotate(active, by="staff:ann", revoke=True)
    assert len(active.secrets) == 1
    assert FormerSecret.objects.count() == secret_rotation.MAX_FORMER_SECRETS


def test_entrust_keeps_the_old_token_while_the_old_webhook_is_there(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = sandbox.logins("entrust")[0]
    account = accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    config = {"events": [{"type": "user.created"}], "expiry_days": 90}
    row = settled(desired_state.subscribe(account, config=config, by="staff:ann"))
    (old,) = row.secrets

    def unreachable(*_: object, **__: object) -> None:
        raise Unavailable("Not now.")

    delete = Entrust.delete
    monkeypatch.setattr(Entrust, "delete", unreachable)
    secret_rotation.rotate(row, by="staff:ann")
    settled(row)
    assert secret_rotation.record_seen(row.pk, row.secrets[0])
    settled(row)
    assert row.secrets[1:] == [old]
    monkeypatch.setattr(Entrust, "delete", delete)
    settled(row)
    assert len(row.secrets) == 1


# -- By hand ---------------------------------------------------------------------------------------------------------


def test_by_hand_the_page_says_what_to_enter_and_the_first_request_with_it_ends_the_old_one(
    account: ProviderAccount,
) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed=Managed.MANUAL)
    (old,) = row.secrets
    assert send(row, old) == 200
    normalize_pending()
    settled(row)
    secret_rotation.rotate(row, by="staff:ann")
    settled(row)
    assert row.state == State.ACTIVE
    assert "Enter the new secret at the provider. Both are accepted" in row.state_reason
    assert send(row, old) == 200
    assert send(row, row.secrets[0]) == 200
    sweep.sweep_inline()
    row.refresh_from_db()
    assert len(row.secrets) == 1
    assert "secret" not in row.state_reason
    assert send(row, old) == 401


def test_where_the_provider_makes_it_and_it_is_registered_by_hand_the_new_one_is_entered(hook: Subscription) -> None:
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


def test_without_a_secret_there_is_nothing_to_rotate(hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(proof=Proof.URL, secret_made_by=SecretMadeBy.NOBODY)
    with pytest.raises(NotSupported, match="callback URL alone"):
        actions.check(hook, SubscriptionAction.ROTATE)


# -- What people see -------------------------------------------------------------------------------------------------


def test_after_a_week_unseen_it_is_a_problem_and_both_are_still_accepted(active: Subscription) -> None:
    (old,) = active.secrets
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    now = timezone.now()
    assert list(checks.subscriptions.rotations(now)) == []
    later = now + secret_rotation.OVERDUE_AFTER + timedelta(seconds=1)
    (cause,) = checks.subscriptions.rotations(later)
    assert cause.kind == ProblemKind.ROTATION
    assert "Both are accepted" in cause.message
    assert send(active, old) == 200


def test_what_it_would_do_is_foreseen(each: Subscription) -> None:
    made_by = each.account.plugin.capabilities.secret_made_by
    steps = [step.action for step in predict_plan(each, timezone.now(), SubscriptionAction.ROTATE).steps]
    anew = [StepAction.REPLACE, StepAction.DELETE]
    assert steps == (anew if made_by is SecretMadeBy.PROVIDER else [StepAction.UPDATE])


def test_while_it_does_not_get_through_the_state_says_so(active: Subscription, control: Control) -> None:
    control.post("faults", status=400, times=100)
    secret_rotation.rotate(active, by="staff:ann")
    settled(active)
    assert active.state == State.FAILING
    assert "Both are accepted until a request uses the new one" in active.state_reason
    assert active.drift == []


# -- Forgetting ------------------------------------------------------------------------------------------------------


def test_one_that_can_never_be_deleted_is_forgotten_and_its_account_goes(
    active: Subscription, account: ProviderAccount, control: Control
) -> None:
    remote_id = active.remote_id
    with pytest.raises(Conflict):
        desired_state.forget(active, by="staff:ann")
    desired_state.request_deletion(active, by="staff:ann")
    control.post("faults", status=401, times=1000)
    settled(active)
    assert active.state == State.DELETING
    with pytest.raises(accounts.AccountInUse):
        accounts.delete_account(account, by="staff:ann")
    desired_state.forget(active, by="staff:ann")
    assert active.state == State.DELETED
    assert active.state_reason == f"Forgotten here. The provider may still have it as {remote_id}."
    entry = HistoryEntry.objects.latest("id")
    assert (entry.action, entry.actor) == ("forgotten", "staff:ann")
    assert entry.changes == [{"field": "remote_id", "from": None, "to": remote_id}]
    with pytest.raises(Conflict):
        desired_state.forget(active, by="staff:ann")
    accounts.delete_account(account, by="staff:ann")
    assert send(active, active.secrets[0]) == 404


def test_forgotten_during_a_run_it_stays_so(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Subscription.objects.get(pk=active.pk)
    desired_state.request_deletion(active, by="staff:ann")

    def refused(*_: object, **__: object) -> None:
        raise Refused("No.")

    monkeypatch.setattr(EgnyteConnect, "delete", refused)
    during(monkeypatch, StepAction.DELETE, Boundary.RECORDED, lambda: desired_state.forget(stale, by="staff:ann"))
    settled(active)
    assert active.state == State.DELETED
    assert active.state_reason.startswith("Forgotten here")
