"""`manage.py reconcile`: plan and reconcile subscriptions on demand."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from providers.accounts import encryption_keys
from providers.conflict import Conflict
from providers.contract.errors import ProviderError
from providers.models import ProviderAccount
from subscriptions.api.plan_serializers import AccountPlanSerializer, AccountResultSerializer
from subscriptions.models import Subscription
from subscriptions.planning.steps import Step
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.on_demand import AccountPlan, AccountResult

ACTOR = "command:reconcile"
EXIT_FAILED, EXIT_STEPS = 1, 3  # 2 means an invalid option

HELP = """Sync the providers now and repair every difference from the configuration; with --plan, only print the steps.
Exit codes: 0, nothing is left to do; 1, something could not be synced or failed; 2, an invalid option; 3, with --plan:
there are steps to do."""


class Command(BaseCommand):
    """Plan or reconcile a subscription, an account, or everything."""

    help = HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--plan", action="store_true", help="Print the steps and change nothing.")
        parser.add_argument("--account", metavar="ID", help="The ID or the name of an account.")
        parser.add_argument("--subscription", metavar="ID", help="The ID of a subscription.")
        parser.add_argument("--json", action="store_true", help="Print JSON, as in the REST API.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each account as soon as it is synced, and exit with the code of the result."""
        encryption_keys.require()
        if options["account"] and options["subscription"]:
            raise CommandError("Use --account or --subscription, not both.", returncode=2)
        try:
            code = self._plan(options) if options["plan"] else self._apply(options)
        except (Conflict, ProviderError) as error:
            raise CommandError(str(error), returncode=EXIT_FAILED) from None
        if code:
            sys.exit(code)

    def _plan(self, options: dict[str, Any]) -> int:
        plans: list[AccountPlan] = []
        for plan in _plans(options):
            plans.append(plan)
            if not options["json"]:
                self._write_lines(_plan_lines(plan))
        if options["json"]:
            self.stdout.write(
                json.dumps({"accounts": AccountPlanSerializer(plans, many=True).data}, default=str, indent=2)
            )
        else:
            self._write_lines((_plan_total(plans),))
        if any(plan.error for plan in plans):
            return EXIT_FAILED
        return EXIT_STEPS if any(item.plan.steps for plan in plans for item in plan.plans) else 0

    def _apply(self, options: dict[str, Any]) -> int:
        results: list[AccountResult] = []
        for result in _results(options):
            results.append(result)
            if not options["json"]:
                self._write_lines(_result_lines(result))
        if options["json"]:
            data = AccountResultSerializer(results, many=True).data
            self.stdout.write(json.dumps({"accounts": data}, default=str, indent=2))
        failed = any(result.error or result.left or _failed(result.done) for result in results)
        if not options["json"]:
            done = sum(len(result.done) for result in results)
            self._write_lines((f"Reconciled {done} of {sum(result.count for result in results)} subscriptions.",))
        return EXIT_FAILED if failed else 0

    def _write_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)


def _plans(options: dict[str, Any]) -> Iterator[AccountPlan]:
    if options["subscription"]:
        yield on_demand.plan_subscription(_subscription(options["subscription"]))
    elif options["account"]:
        yield on_demand.plan_account(_account(options["account"]))
    else:
        yield from on_demand.plan_everything()


def _results(options: dict[str, Any]) -> Iterator[AccountResult]:
    if options["subscription"]:
        yield on_demand.apply_subscription(_subscription(options["subscription"]), by=ACTOR)
    elif options["account"]:
        yield on_demand.apply_account(_account(options["account"]), by=ACTOR)
    else:
        yield from on_demand.apply_everything(by=ACTOR)


def _subscription(text: str) -> Subscription:
    uid = _uid(text)
    row = Subscription.objects.select_related("account").filter(uid=uid).first() if uid else None
    if row is None:
        raise CommandError(f"There is no subscription {text}.", returncode=2)
    return row


def _account(text: str) -> ProviderAccount:
    uid = _uid(text)
    accounts = list(ProviderAccount.objects.filter(uid=uid) if uid else ProviderAccount.objects.filter(name=text)[:2])
    if len(accounts) > 1:
        raise CommandError(f"There are several accounts called {text}; use the ID of one.", returncode=2)
    if not accounts:
        raise CommandError(f"There is no account {text}.", returncode=2)
    return accounts[0]


def _uid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _failed(rows: Iterable[Subscription]) -> bool:
    return any(row.last_error for row in rows)


def _plan_lines(plan: AccountPlan) -> Iterator[str]:
    if plan.error:
        yield f"{plan.account.name}: not synced. {plan.error}"
        return
    if not plan.plans:
        return
    yield f"{plan.account.name} ({plan.account.plugin.name})"
    for item in plan.plans:
        yield f"  {item.row} {item.row.uid}"
        for step in item.plan.steps:
            yield from _step_lines(step)
        if item.plan.waiting:
            yield f"    waits: {item.plan.waiting}"


def _step_lines(step: Step) -> Iterator[str]:
    yield f"    {step.action}{f' {step.remote_id}' if step.remote_id else ''}: {step.reason}"
    for change in step.changes:
        yield f"      {change.field}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _plan_total(plans: list[AccountPlan]) -> str:
    steps = sum(len(item.plan.steps) for plan in plans for item in plan.plans)
    synced = sum(plan.count for plan in plans)
    failed = sum(plan.error is not None for plan in plans)
    text = f"{steps} step{'s' if steps != 1 else ''} to do for {synced} subscription{'s' if synced != 1 else ''}."
    return f"{text} {failed} account{'s' if failed != 1 else ''} could not be synced." if failed else text


def _result_lines(result: AccountResult) -> Iterator[str]:
    if result.error:
        yield f"{result.account.name}: not synced. {result.error}"
        return
    for row in result.done:
        yield f"{result.account.name}: {row} {row.uid} is {row.state}. {row.state_reason}"
    if result.left:
        yield f"{result.account.name}: {result.left} left to the worker, because another process is reconciling them."
