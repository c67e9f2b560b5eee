"""Pages of subscriptions: forms, provider errors at their fields, actions, the plan, and the secret."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from events.models import WebhookRequest
from providers.contract.errors import Refused
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, Operation, Problem, State, Subscription
from subscriptions.planning.steps import StepAction
from subscriptions.problems import detector
from subscriptions.reconciliation.columns import set_values
from subscriptions.reconciliation.dry_run import predict_plan
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.reconciliation.status import error_columns
from tests.admin.conftest import log_in_staff
from tests.harness.fixtures import CONFIG, Control, later

ADD = "/admin/subscriptions/subscription/add/"
ACTIONS = "/admin/subscriptions/subscription/actions/"
FORM_DATA = {
    "name": "Legal",
    "enabled": "on",
    "auto_renew": "on",
    "managed": "api",
    "config.event_types": ["fs:*", "link:create"],
    "config.event_types.lines": "comment:*\n",
    "config.paths.lines": "/Shared/Legal\n\n /Shared/Board \n",
}
pytestmark = pytest.mark.usefixtures("receiver_answers")


def page_of(name: str, row: Subscription) -> str:
    return reverse(f"admin:subscriptions_subscription_{name}", args=[row.pk])


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile_soon(subscription, actor="staff:ann")
    assert subscription.state == State.ACTIVE
    return subscription


def run(client: Client, action: str, *rows: Subscription) -> str:
    """Open the confirmation page and press its button."""
    keys = [str(row.pk) for row in rows]
    confirmation = client.get(ACTIONS, {"action": action, "pk": keys})
    assert confirmation.status_code == 200
    response = client.post(ACTIONS, {"action": action, "pk": keys}, follow=True)
    for row in rows:
        row.refresh_from_db()
    return response.content.decode()


# -- Forms


def test_adding_starts_with_the_choice_of_the_account(superuser: Client, account: ProviderAccount) -> None:
    assert f"?account={account.pk}" in superuser.get(ADD).content.decode()
    for query in ("?account=999", "?account=x"):
        assert f"?account={account.pk}" in superuser.get(ADD + query).content.decode()


def test_event_types_are_grouped_checkboxes(superuser: Client, account: ProviderAccount) -> None:
    page = superuser.get(f"{ADD}?account={account.pk}").content.decode()
    assert "<legend>Links</legend>" in page
    assert '<input type="checkbox" name="config.event_types" value="fs:*">' in page
    assert "Every file and folder event" in page


def test_a_new_subscription_has_a_default_name(superuser: Client, account: ProviderAccount) -> None:
    assert f'value="{account.name} 1"' in superuser.get(f"{ADD}?account={account.pk}").content.decode()
    desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    assert f'value="{account.name} 2"' in superuser.get(f"{ADD}?account={account.pk}").content.decode()


def test_subscribing_registers_immediately(superuser: Client, account: ProviderAccount, control: Control) -> None:
    page = superuser.post(f"{ADD}?account={account.pk}", FORM_DATA, follow=True).content.decode()
    row = Subscription.objects.get()
    assert row.state == State.ACTIVE
    assert row.config == {
        "event_types": ["fs:*", "link:create", "comment:*"],
        "paths": ["/Shared/Legal", "/Shared/Board"],
    }
    assert len(control.remotes()) == 1
    assert "Saved." in page
    assert page.count(row.state_reason) == page.count(row.state_reason, page.index('id="state"')), "not shown twice"
    assert Operation.objects.get().actor == "staff:ann"


def test_a_schema_error_names_the_entry_and_saves_nothing(superuser: Client, account: ProviderAccount) -> None:
    form_data = {
        **FORM_DATA,
        "config.paths.lines": "/Shared/Legal\n/Shared/A,B",
        "config.event_types": [],
        "config.event_types.lines": "",
    }
    response = superuser.post(f"{ADD}?account={account.pk}", form_data)
    errors = response.context["form"].errors
    assert set(errors) == {"config.paths"}
    assert errors["config.paths"][0].startswith("Entry 2 (/Shared/A,B): must not contain a comma")
    assert "/Shared/A,B</textarea>" in response.content.decode()
    assert not Subscription.objects.exists()


def test_a_provider_error_is_shown_at_its_field(
    superuser: Client, account: ProviderAccount, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Refused("There is no such folder.", field="paths.1")

    monkeypatch.setattr(type(account.plugin), "register", refuse)
    response = superuser.post(f"{ADD}?account={account.pk}", FORM_DATA, follow=True)
    row = Subscription.objects.get()
    assert row.state == State.FAILING
    assert response.redirect_chain[-1][0] == page_of("edit", row)
    field = next(item for item in response.context["config"].fields if item.name == "config.paths")
    assert field.provider_error == "Entry 2 (/Shared/Board): There is no such folder."
    assert "The provider rejected this" in response.content.decode()
    monkeypatch.undo()
    superuser.post(page_of("edit", row), {**FORM_DATA, "config.paths.lines": "/Shared/Legal"})
    row.refresh_from_db()
    assert row.state == State.ACTIVE


def test_a_provider_error_without_a_field_is_not_shown_in_the_form(
    superuser: Client, subscription: Subscription
) -> None:
    set_values(subscription, error_columns(subscription, Refused("No room for another one."), subscription.created_at))
    subscription.save()
    assert superuser.get(page_of("edit", subscription)).status_code == 200
    assert "No room" not in superuser.get(page_of("edit", subscription)).content.decode()


def test_the_form_shows_the_current_configuration(superuser: Client, subscription: Subscription) -> None:
    page = superuser.get(page_of("edit", subscription)).content.decode()
    assert '<input type="checkbox" name="config.event_types" value="fs:*" checked>' in page
    assert "/Shared/Finance</textarea>" in page


def test_changing_the_config_changes_it_at_the_provider(
    superuser: Client, active: Subscription, control: Control
) -> None:
    superuser.post(page_of("edit", active), {**FORM_DATA, "config.paths.lines": "/Shared/Sales"})
    active.refresh_from_db()
    assert active.name == "Legal"
    assert control.remotes()[0]["path"] == "/Shared/Sales"
    entry = HistoryEntry.objects.filter(subject_id=str(active.uid), action="changed").latest("pk")
    assert {"field": "config.paths", "from": ["/Shared/Finance"], "to": ["/Shared/Sales"]} in entry.changes


def test_a_manual_subscription_shows_the_steps(superuser: Client, account: ProviderAccount, control: Control) -> None:
    page = superuser.post(
        f"{ADD}?account={account.pk}", {**FORM_DATA, "managed": "manual"}, follow=True
    ).content.decode()
    assert "Register manually" in page
    assert not control.remotes()


# -- Actions


@pytest.mark.slow
def test_disabling_and_enabling(superuser: Client, active: Subscription, control: Control) -> None:
    run(superuser, "disable", active)
    assert active.state == State.DISABLED
    assert control.remotes()[0]["enabled"] is False
    run(superuser, "enable", active)
    assert active.state == State.ACTIVE
    assert control.remotes()[0]["enabled"] is True


def test_renewing_moves_the_lease(superuser: Client, active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=20)
    before = control.remotes()[0]["expires_at"]
    run(superuser, "renew", active)
    assert control.remotes()[0]["expires_at"] > before
    assert active.renew_asked_at is None


def test_deleting_removes_it_at_the_provider(superuser: Client, active: Subscription, control: Control) -> None:
    run(superuser, "delete", active)
    assert active.state == State.DELETED
    assert not control.remotes()


def test_reconciling_repairs_immediately(superuser: Client, active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", deleted=True)
    run(superuser, "reconcile", active)
    assert "before anything is registered again" in active.state_reason
    assert control.remotes() == []
    with later():
        run(superuser, "reconcile", active)
    assert active.state == State.ACTIVE
    assert len(control.remotes()) == 1


def test_testing_reports_the_result(superuser: Client, active: Subscription) -> None:
    assert "No test webhook was sent" in run(superuser, "test", active)


def test_the_page_after_a_repair_does_not_show_the_repaired_problem(superuser: Client, active: Subscription) -> None:
    Subscription.objects.filter(pk=active.pk).update(state=State.DRIFTED, state_reason="It differs in paths.")
    detector.detect()
    problem = Problem.objects.get(kind="drifted")
    assert problem.state == "open"
    page = run(superuser, "reconcile", active)
    problem.refresh_from_db()
    assert (active.state, problem.state) == (State.ACTIVE, "resolved")
    assert 'id="problems"' not in page


def test_a_bulk_action_returns_to_the_filtered_list(superuser: Client, active: Subscription) -> None:
    query: dict[str, Any] = {"action": "renew", "pk": [active.pk], "list": "state=active&q=Fi"}
    page = superuser.get(ACTIONS, query).content.decode()
    assert '<input type="hidden" name="list" value="state=active&amp;q=Fi">' in page
    other = Subscription.objects.create(account=active.account, due_at=None)
    query["pk"] = [active.pk, other.pk]
    for keys in ([active.pk, other.pk], []):
        response = superuser.post(ACTIONS, {**query, "pk": keys})
        assert response["Location"] == "/admin/subscriptions/subscription/?state=active&q=Fi"


def test_a_bulk_action_reports_the_count(superuser: Client, active: Subscription, control: Control) -> None:
    second = desired_state.subscribe(active.account, config=CONFIG, by="staff:ann", name="Second")
    reconcile_soon(second, actor="staff:ann")
    page = run(superuser, "disable", active, second)
    assert "done for 2 of 2 subscriptions" in page
    assert [remote["enabled"] for remote in control.remotes()] == [False, False]


def test_the_confirmation_page_shows_the_effect_and_changes_nothing(
    superuser: Client, active: Subscription, control: Control
) -> None:
    calls = len(control.calls())
    page = superuser.get(ACTIONS, {"action": "delete", "pk": str(active.pk)}).content.decode()
    assert "The subscription is deleted here." in page
    assert str(active.remote_id) in page
    page = superuser.get(ACTIONS, {"action": "enable", "pk": str(active.pk)}).content.decode()
    assert "The subscription is already enabled." in page
    assert 'name="pk"' not in page
    assert len(control.calls()) == calls
    active.refresh_from_db()
    assert active.present


@pytest.mark.parametrize(
    ("action", "steps"),
    [
        (SubscriptionAction.DISABLE, [StepAction.DISABLE]),
        (SubscriptionAction.RENEW, [StepAction.RENEW]),
        (SubscriptionAction.DELETE, [StepAction.DELETE]),
        (SubscriptionAction.ROTATE, [StepAction.UPDATE]),
        (SubscriptionAction.RECONCILE, []),
        (SubscriptionAction.TEST, []),
    ],
)
def test_the_dry_run_equals_the_result(
    superuser: Client, active: Subscription, action: SubscriptionAction, steps: list[StepAction]
) -> None:
    assert [step.action for step in predict_plan(active, active.created_at, action).steps] == steps
    last = Operation.objects.latest("pk").pk
    run(superuser, action, active)
    performed = Operation.objects.filter(pk__gt=last).order_by("pk").values_list("action", flat=True)
    assert list(performed) == [step.value for step in steps]


@pytest.mark.slow
@pytest.mark.parametrize("action", list(SubscriptionAction))
def test_viewers_cannot_run_actions(viewer: Client, active: Subscription, action: SubscriptionAction) -> None:
    for call in (viewer.get, viewer.post):
        assert call(ACTIONS, {"action": action, "pk": str(active.pk)}).status_code == 403
    assert viewer.post(page_of("edit", active), FORM_DATA).status_code == 403
    assert viewer.get(ADD).status_code == 403


def test_deleting_needs_its_own_permission(db: None, active: Subscription) -> None:
    changer = log_in_staff("chris", "subscriptions.view_subscription", "subscriptions.change_subscription")
    assert changer.get(ACTIONS, {"action": "disable", "pk": str(active.pk)}).status_code == 200
    assert changer.post(ACTIONS, {"action": "delete", "pk": str(active.pk)}).status_code == 403
    page = changer.get(page_of("change", active)).content.decode()
    assert "action=disable" in page
    assert "action=delete" not in page


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"action": "bogus", "pk": "1"}, 403),
        ({"action": "disable", "pk": "x"}, 404),
        ({"action": "disable"}, 302),
        ({}, 403),
    ],
)
def test_an_invalid_action_is_rejected(superuser: Client, query: dict[str, str], status: int) -> None:
    assert superuser.get(ACTIONS, query).status_code == status


def test_a_deleted_subscription_has_no_actions(superuser: Client, subscription: Subscription) -> None:
    desired_state.request_deletion(subscription, by="staff:ann")
    page = superuser.get(page_of("change", subscription)).content.decode()
    assert "actions/?action=" not in page
    response = superuser.get(page_of("edit", subscription), follow=True)
    assert "The subscription is deleted." in response.content.decode()


# -- The page


def test_revealing_the_secret_is_logged(superuser: Client, subscription: Subscription) -> None:
    secret = subscription.secrets[0]
    assert secret not in superuser.get(page_of("change", subscription)).content.decode()
    response = superuser.post(page_of("secret", subscription))
    assert f"Authorization: {secret}" in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    entry = HistoryEntry.objects.latest("pk")
    assert (entry.action, entry.actor) == ("secret revealed", "staff:ann")


def test_the_secret_needs_the_permission_and_a_post(
    superuser: Client, viewer: Client, subscription: Subscription
) -> None:
    assert viewer.post(page_of("secret", subscription)).status_code == 403
    assert superuser.get(page_of("secret", subscription)).status_code == 405
    assert not HistoryEntry.objects.filter(action="secret revealed").exists()


def test_the_plan_is_a_difference_field_by_field(superuser: Client, active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/Sales"]})
    page = superuser.get(page_of("change", active) + "?plan=now")
    step = page.context["plan"].steps[0]
    assert step.action == "update"
    text = page.content.decode()
    assert '<span class="hk-from">/Shared/Finance</span>' in text
    assert '<span class="hk-to">/Shared/Sales</span>' in text


def test_a_failed_refresh_of_the_plan_is_reported(superuser: Client, active: Subscription, control: Control) -> None:
    control.post("faults", status=401, times=5)
    page = superuser.get(page_of("change", active) + "?plan=now").content.decode()
    assert "state could not be fetched" in page


def test_the_page_makes_no_call(superuser: Client, active: Subscription, control: Control) -> None:
    calls = len(control.calls())
    assert superuser.get(page_of("change", active)).status_code == 200
    assert len(control.calls()) == calls


def test_operations_are_shown_without_secrets(superuser: Client, active: Subscription) -> None:
    operation = active.operations.latest("pk")
    url = f"/admin/subscriptions/operation/{operation.pk}/change/"
    assert f'href="{url}"' in superuser.get(page_of("change", active)).content.decode(), "on the timeline"
    page = superuser.get(url).content.decode()
    assert "/pubapi/v1/webhooks" in page
    assert active.secrets[0] not in page
    assert active.account.credentials["access_token"] not in page


def test_recent_events_need_the_permission(viewer: Client, received: WebhookRequest) -> None:
    url = page_of("change", received.subscription)
    assert "/Shared/Plan.docx" in viewer.get(url).content.decode()
    other = log_in_staff("olga", "subscriptions.view_subscription")
    assert "/Shared/Plan.docx" not in other.get(url).content.decode()


@pytest.mark.slow
def test_states_are_shown_as_text_not_only_as_colors(superuser: Client, subscription: Subscription) -> None:
    for state in State:
        Subscription.objects.filter(pk=subscription.pk).update(state=state, state_reason=f"Because of {state}.")
        text = superuser.get(page_of("change", subscription)).content.decode()
        assert f'data-state="{state}"' in text
        assert f"</span>{state.label}</span>" in text
        assert f"Because of {state}." in text


def test_the_list_shows_times_that_count_down(superuser: Client, active: Subscription) -> None:
    page = superuser.get("/admin/subscriptions/subscription/").content.decode()
    assert 'data-relative="until"' in page
    assert 'name="action" value="disable"' in page


def test_viewers_see_no_bulk_buttons(viewer: Client, active: Subscription) -> None:
    assert 'name="action"' not in viewer.get("/admin/subscriptions/subscription/").content.decode()


def test_deleting_a_manual_subscription_makes_no_call(
    superuser: Client, account: ProviderAccount, control: Control
) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed=Managed.MANUAL)
    calls = len(control.calls())
    run(superuser, "delete", row)
    assert row.state == State.DELETED or row.deleted_at is not None
    assert len(control.calls()) == calls


def test_the_delete_page_redirects_to_the_action(superuser: Client, subscription: Subscription) -> None:
    response: Any = superuser.get(page_of("delete", subscription))
    assert response.url.endswith(f"actions/?action=delete&pk={subscription.pk}")


# -- A reached limit at the provider


@pytest.mark.django_db
def test_accounts_that_share_a_reached_limit_are_named(
    superuser: Client, subscription: Subscription, control: Control
) -> None:
    ours = {"clientId": "app", "domain": "acme", "username": "ann"}
    account = subscription.account
    settings, credentials = {"domain": "acme"}, {"access_token": "t0ken"}
    for name, identity in (
        ("Sales", {**ours, "username": "bob"}),
        ("Elsewhere", {**ours, "domain": "globex"}),
        ("Never checked", {}),
    ):
        ProviderAccount.objects.create(
            provider=account.provider, name=name, settings=settings, credentials=credentials, identity=identity
        )
    account.identity = ours
    account.save(update_fields=["identity"])
    control.post("options", max_webhooks=0)
    assert "share" not in superuser.get(page_of("change", subscription)).content.decode().partition('id="sharing"')[2]
    reconcile_soon(subscription, actor="staff:ann")
    page = (
        superuser.get(page_of("change", subscription))
        .content.decode()
        .partition('id="sharing"')[2]
        .partition("</div>")[0]
    )
    assert "the same clientId and domain" in page
    assert ">Sales</a>" in page
    assert "Elsewhere" not in page
    assert "Never checked" not in page
