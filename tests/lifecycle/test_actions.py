"""The rules for actions: the REST API, the dashboard and the command allow and refuse the same for the same reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import ERROR, get_messages
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from config.models import ApiToken
from providers.conflict import Conflict, NotSupported
from providers.contract.capabilities import Proof, Renewal, SecretMadeBy
from subscriptions.lifecycle import actions
from subscriptions.lifecycle.actions import SubscriptionAction as A
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation import action_runner, on_demand
from tests.harness.fake_provider import FakeProvider

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_provider", "receiver_answers")]

DASHBOARD = "/admin/subscriptions/subscription/"
CONFIRMED = [action for action in A if action not in (A.EDIT, A.ENTER_SECRET)]  # those with a confirmation page
PROVIDERS: Mapping[str, dict[str, Any]] = {
    "expiring": {"renewal": Renewal.UPDATE, "secret_made_by": SecretMadeBy.US},
    "without expiry and secret": {"proof": Proof.URL, "secret_made_by": SecretMadeBy.NOBODY},
    "creates the secret": {"renewal": Renewal.UPDATE, "secret_made_by": SecretMadeBy.PROVIDER},
}
NOW = timezone.now()
REGISTERED: dict[str, Any] = {"remote_id": "r-1", "remote_enabled": True, "last_error": None}
STATES: Mapping[State, dict[str, Any]] = {
    State.DELETED: {**REGISTERED, "present": False, "deleted_at": NOW},
    State.DELETING: {**REGISTERED, "present": False},
    State.MANUAL: {"managed": Managed.MANUAL},
    State.EXPIRED: {**REGISTERED, "expires_at": NOW - timedelta(hours=1)},
    State.MISSING: {**REGISTERED, "missing_since": NOW, "remote_enabled": None},
    State.SUSPENDED: {**REGISTERED, "remote_enabled": False},
    State.DRIFTED: {**REGISTERED, "drift": [{"field": "paths", "before": 1, "after": 2}]},
    State.FAILING: {"last_error": {"code": "refused", "message": "No.", "field": None}},
    State.DISABLED: {**REGISTERED, "enabled": False, "we_disabled": True},
    State.ACTIVE: REGISTERED,
    State.PENDING: {},
}
BLANK: dict[str, Any] = {
    "present": True,
    "enabled": True,
    "managed": Managed.API,
    "deleted_at": None,
    "forgotten_at": None,
    "renew_asked_at": None,
    "remote_id": None,
    "remote_enabled": None,
    "missing_since": None,
    "expires_at": None,
    "drift": [],
    "last_error": None,
    "we_disabled": False,
    "name": "Finance",
    "secrets": ["the-secret"],
    "secret_no": 1,
    "rotation_asked_at": None,
    "register_tried_at": NOW,
}


@pytest.fixture
def no_provider(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the calls to the provider that follow an action, since they are not compared here."""
    User.objects.create(username="ann", is_staff=True, is_superuser=True)
    for module in (action_runner, on_demand):
        monkeypatch.setattr(module, "reconcile", lambda *_, **__: True)
    monkeypatch.setattr(action_runner, "reconcile_soon", lambda *_, **__: None)


def in_state(subscription: Subscription, state: State) -> Subscription:
    """Set the columns from which the state follows, and reset all others."""
    facts = {**BLANK, **STATES[state]}
    Subscription.objects.filter(pk=subscription.pk).update(state=state, **facts)
    return Subscription.objects.select_related("account").get(pk=subscription.pk)


def effect_of(subscription: Subscription) -> list[object]:
    """Return what an action can change on the row, without the times themselves."""
    row = Subscription.objects.get(pk=subscription.pk)
    times = (row.deleted_at, row.forgotten_at, row.renew_asked_at, row.rotation_asked_at)
    return [row.present, row.enabled, row.name, row.secret_no, len(row.secrets), *(time is not None for time in times)]


# Each of these functions returns the reason of a refusal, or None.


def through_api(row: Subscription, action: A) -> str | None:
    path = f"/api/v1/subscriptions/{row.uid}/"
    headers = {"Authorization": f"Bearer {ApiToken.issue('ci')[1]}"}
    calls: dict[A, Callable[[], Any]] = {
        A.DELETE: lambda: Client().delete(path, headers=headers),
        A.EDIT: lambda: Client().patch(path, {"name": "New"}, content_type="application/json", headers=headers),
        A.ENTER_SECRET: lambda: Client().patch(
            f"{path}secret/", {"value": "entered"}, content_type="application/json", headers=headers
        ),
    }
    response = calls.get(action, lambda: Client().generic("POST", f"{path}{action}/", headers=headers))()
    if response.status_code < 300:
        return None
    assert response.status_code == 409
    refused = actions.refusal(row, action)
    assert refused is not None
    assert response.json()["code"] == refused.code
    return str(response.json()["detail"])


def through_dashboard(row: Subscription, action: A, *others: Subscription) -> str | None:
    client = Client()
    client.force_login(User.objects.get(username="ann"))
    if action is A.EDIT:
        form = {"name": "New", "auto_renew": "on", **({"enabled": "on"} if row.enabled else {})}
        response = client.post(f"{DASHBOARD}{row.pk}/edit/", form)
    elif action is A.ENTER_SECRET:
        response = client.post(f"{DASHBOARD}{row.pk}/secret/", {"value": "entered"})
    else:
        keys = [str(item.pk) for item in (row, *others)]
        response = client.post(f"{DASHBOARD}actions/", {"action": action, "pk": keys})
    assert response.status_code == 302
    errors = [str(item.message) for item in get_messages(response.wsgi_request) if item.level == ERROR]
    if not errors or row.last_error:  # a stored error is shown after an action that was allowed
        return None if not errors or "No." in errors[0] else errors[0].rpartition(": ")[2]
    return next((text.split(f"{row}: ", 1)[-1] for text in errors), None)


def through_command(row: Subscription, action: A) -> str | None:
    assert action is A.RECONCILE
    try:
        call_command("reconcile", subscription=str(row.uid))
    except CommandError as error:
        return str(error)
    except SystemExit:  # a stored error of the provider, reported after an attempt
        return None
    return None


CASES = [
    *(("expiring", state, action) for action in A for state in State),
    *(
        (provider, state, action)
        for provider in ("without expiry and secret", "creates the secret")
        for state in (State.ACTIVE, State.MANUAL, State.DELETING)
        for action in (A.RENEW, A.ROTATE, A.ENTER_SECRET)
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "state", "action"), CASES)
def test_all_interfaces_agree(hook: Subscription, fake: FakeProvider, provider: str, state: State, action: A) -> None:
    fake.declare(**PROVIDERS[provider])
    other = Subscription.objects.create(account=hook.account, due_at=None)
    expected = actions.refusal(in_state(hook, state), action)
    interfaces: dict[str, Callable[[Subscription, A], str | None]] = {
        "API": through_api,
        "dashboard": through_dashboard,
    }
    if action in CONFIRMED:
        interfaces["dashboard, several"] = lambda row, action: through_dashboard(row, action, in_state(other, state))
    if action is A.RECONCILE:
        interfaces["command"] = through_command
    reasons, effects = {}, {}
    for name, interface in interfaces.items():
        row = in_state(hook, state)
        reasons[name] = interface(row, action)
        effects[name] = effect_of(row)
    assert reasons == dict.fromkeys(interfaces, str(expected) if expected else None)
    assert len({str(effect) for effect in effects.values()}) == 1, effects


@pytest.mark.slow
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", CONFIRMED)
def test_the_dashboard_announces_refusals_and_actions_without_effect(
    hook: Subscription, fake: FakeProvider, state: State, action: A
) -> None:
    fake.declare(**PROVIDERS["expiring"])
    row = in_state(hook, state)
    client = Client()
    client.force_login(User.objects.get(username="ann"))
    (preview,) = client.get(f"{DASHBOARD}actions/", {"action": action, "pk": str(row.pk)}).context["previews"]
    refused = actions.refusal(row, action)
    assert preview.skipped == (str(refused) if refused else actions.no_effect(row, action))
    assert (not preview.skipped) == actions.is_offered(row, action)


PRESENT = frozenset(State) - {State.DELETED, State.DELETING}
ALLOWED: Mapping[A, frozenset[State]] = {
    A.ENABLE: PRESENT - {State.MANUAL},
    A.DISABLE: PRESENT - {State.MANUAL},
    A.RENEW: PRESENT - {State.MANUAL, State.FAILING, State.PENDING},  # the last two are not registered
    A.TEST: PRESENT,
    A.RECONCILE: PRESENT | {State.DELETING},
    A.ROTATE: PRESENT,
    A.DELETE: frozenset(State),
    A.FORGET: frozenset({State.DELETING}),
    A.EDIT: PRESENT,
    A.ENTER_SECRET: frozenset(),  # we create the secret
}


@pytest.mark.parametrize("action", A)
def test_the_states_in_which_an_action_is_allowed(hook: Subscription, fake: FakeProvider, action: A) -> None:
    fake.declare(**PROVIDERS["expiring"])
    allowed = {state for state in State if actions.refusal(in_state(hook, state), action) is None}
    assert allowed == ALLOWED[action]


@pytest.mark.parametrize(
    ("provider", "state", "action"),
    [
        *(("expiring", State.MANUAL, action) for action in (A.ENABLE, A.DISABLE, A.RENEW, A.ENTER_SECRET)),
        *(("without expiry and secret", State.ACTIVE, action) for action in (A.RENEW, A.ROTATE)),
        ("creates the secret", State.MANUAL, A.ROTATE),
        ("creates the secret", State.ACTIVE, A.ENTER_SECRET),
    ],
)
def test_actions_that_the_provider_lacks_are_not_supported(
    hook: Subscription, fake: FakeProvider, provider: str, state: State, action: A
) -> None:
    fake.declare(**PROVIDERS[provider])
    with pytest.raises(NotSupported):
        actions.check(in_state(hook, state), action)


def test_a_manual_subscription_enters_its_secret_where_the_provider_creates_it(
    hook: Subscription, fake: FakeProvider
) -> None:
    fake.declare(**PROVIDERS["creates the secret"])
    row = in_state(hook, State.MANUAL)
    actions.enter_secret(row, "entered", by="staff:ann")
    assert row.secrets == ["entered", "the-secret"]


def test_a_refused_action_writes_nothing(hook: Subscription, fake: FakeProvider) -> None:
    row = in_state(hook, State.DELETING)
    before = effect_of(row)
    with pytest.raises(Conflict):
        actions.apply(row, A.ENABLE, by="staff:ann")
    assert effect_of(row) == before


def test_enabling_and_deleting_twice_is_allowed_and_changes_nothing(hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(**PROVIDERS["expiring"])
    for action in (A.ENABLE, A.DELETE):
        row = in_state(hook, State.ACTIVE)
        actions.apply(row, action, by="staff:ann")
        once = effect_of(row)
        actions.apply(row, action, by="staff:ann")
        assert effect_of(row) == once
        assert actions.no_effect(row, action)
