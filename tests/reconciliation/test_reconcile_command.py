"""`manage.py reconcile`: printing the plan as text and JSON, applying it, and exit codes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from providers.models import ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def run(*arguments: str) -> tuple[int, str]:
    """Run the command and return its exit code and output."""
    out = StringIO()
    try:
        call_command("reconcile", *arguments, stdout=out)
    except SystemExit as exit_:
        return int(exit_.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def drifted(subscription: Subscription, control: Control) -> Subscription:
    """Return a subscription with two pending steps: changed here, and disabled at the provider."""
    reconcile(subscription, details=True)
    desired_state.change(subscription, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    control.post(f"remote/{subscription.remote_id}", status="disabled")
    subscription.refresh_from_db()
    return subscription


def options_of(row: Subscription) -> list[list[str]]:
    return [[], ["--account", str(row.account.uid)], ["--account", "Spare"], ["--subscription", str(row.uid)]]


@pytest.mark.parametrize("index", range(4))
def test_plan_option_prints_the_plan_and_changes_nothing(drifted: Subscription, control: Control, index: int) -> None:
    before = control.remotes()
    code, output = run("--plan", *options_of(drifted)[index])
    assert code == 3
    assert f"update {drifted.remote_id}: It differs from the desired state." in output
    assert 'paths: ["/Shared/Finance"] -> ["/Shared/New"]' in output
    assert "enabled: false -> true" in output
    assert "2 steps to do for 1 subscription." in output
    assert control.remotes() == before


def test_json_option_prints_the_plan_as_json(drifted: Subscription) -> None:
    code, output = run("--plan", "--json")
    assert code == 3
    (account,) = json.loads(output)["accounts"]
    (planned,) = account["plans"]
    assert (account["name"], planned["subscription"]) == ("Spare", str(drifted.uid))
    assert planned["steps"][0]["changes"] == [{"field": "paths", "from": ["/Shared/Finance"], "to": ["/Shared/New"]}]


@pytest.mark.parametrize("index", range(4))
def test_the_plan_is_applied(drifted: Subscription, control: Control, index: int) -> None:
    code, output = run(*options_of(drifted)[index])
    drifted.refresh_from_db()
    assert (code, drifted.state) == (0, State.ACTIVE)
    assert "is active" in output
    assert "Reconciled 1 of 1 subscriptions." in output
    assert drifted.operations.latest("id").actor == "command:reconcile"
    assert run("--plan") == (0, "0 steps to do for 1 subscription.\n")


def test_json_option_prints_the_results(drifted: Subscription) -> None:
    code, output = run("--json")
    assert code == 0
    account: dict[str, Any] = json.loads(output)["accounts"][0]
    assert (account["done"][0]["state"], account["left"]) == ("active", 0)


def test_exit_code_is_1_if_the_provider_fails(drifted: Subscription, control: Control) -> None:
    control.post("faults", status=500, times=1)
    code, output = run("--plan")
    assert code == 1
    assert "Spare: not synced." in output
    assert "1 account could not be synced." in output
    control.post("faults", status=400, times=1)
    with pytest.raises(CommandError) as refused:
        run("--account", "Spare")
    assert refused.value.returncode == 1


def test_exit_code_is_1_if_work_is_left_to_the_worker(drifted: Subscription) -> None:
    assert drifted.claim("another worker")
    code, output = run()
    assert code == 1
    assert "1 left to the worker" in output


def test_unknown_or_ambiguous_arguments_are_errors(account: ProviderAccount) -> None:
    accounts.add_account(
        provider=account.provider,
        name="Spare",
        settings=account.settings,
        credentials=account.credentials,
        by="staff:ann",
    )
    for arguments, message in (
        (["--account", "Nobody"], "no account Nobody"),
        (["--account", "Spare"], "several accounts"),
        (["--subscription", "x"], "no subscription x"),
        (["--subscription", "x", "--account", "y"], "not both"),
    ):
        with pytest.raises(CommandError, match=message) as refused:
            run("--plan", *arguments)
        assert refused.value.returncode == 2
