"""What a person does about each kind of problem: the one next action in words, and the page where it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from subscriptions.models import Problem, ProblemKind


@dataclass(frozen=True, slots=True)
class Advice:
    """The next action: in words, as a button, and where that leads."""

    action: str
    button: str
    link: Callable[[Problem], str]


def action_of(problem: Problem) -> str:
    """The one next action in words."""
    return problem.action or ADVICE[ProblemKind(problem.kind)].action


def button_of(problem: Problem) -> str:
    """What its button says."""
    return ADVICE[ProblemKind(problem.kind)].button


def link_of(problem: Problem) -> str:
    """Where its button leads: a path of the dashboard."""
    return ADVICE[ProblemKind(problem.kind)].link(problem)


def subject_link(problem: Problem) -> str:
    """The page of what it is about."""
    if problem.subscription_id:
        return reverse("admin:subscriptions_subscription_change", args=[problem.subscription_id])
    if problem.account_id:
        return reverse("admin:providers_provideraccount_change", args=[problem.account_id])
    return _installation(problem)


def _do(action: str) -> Callable[[Problem], str]:
    """The page that says what an action on the subscription will do, and does it."""

    def link(problem: Problem) -> str:
        page = reverse("admin:subscriptions_subscription_actions")
        return f"{page}?action={action}&pk={problem.subscription_id}"

    return link


def _plan(problem: Problem) -> str:
    return f"{subject_link(problem)}?plan=now#plan"


def _edit_account(problem: Problem) -> str:
    return reverse("admin:providers_provideraccount_edit", args=[problem.account_id])


def _requests(outcome: str) -> Callable[[Problem], str]:
    def link(problem: Problem) -> str:
        page = reverse("admin:events_webhookrequest_changelist")
        return f"{page}?subscription={problem.subscription_id}&outcome={outcome}"

    return link


def _backlog(problem: Problem) -> str:
    return reverse("admin:events_webhookrequest_changelist") + "?outcome=received"


def _channel(problem: Problem) -> str:
    return reverse("admin:subscriptions_channel_changelist")


def _copies(problem: Problem) -> str:
    if problem.subscription_id:
        return subject_link(problem)
    return reverse("admin:subscriptions_subscription_address")


def _installation(problem: Problem) -> str:
    return reverse("admin:index") + "#installation"


ADVICE: dict[ProblemKind, Advice] = {
    ProblemKind.EXPIRING: Advice(
        "Renew it now, and read what the provider answers.",
        "Renew now",
        _do("renew"),
    ),
    ProblemKind.EXPIRED: Advice(
        "Reconcile it: it is registered again, or the provider's answer says what stands in the way.",
        "Reconcile",
        _do("reconcile"),
    ),
    ProblemKind.SUSPENDED: Advice(
        "See that PUBLIC_URL can be reached from outside and answers within a second, then reconcile.",
        "Reconcile",
        _do("reconcile"),
    ),
    ProblemKind.MISSING: Advice(
        "Reconcile it: it is registered again, or the provider's answer says what stands in the way.",
        "Reconcile",
        _do("reconcile"),
    ),
    ProblemKind.DRIFTED: Advice(
        "Compare the fields, then reconcile to put ours back, or change the subscription to what is there.",
        "Compare",
        _plan,
    ),
    ProblemKind.FAILING: Advice(
        "Do what the provider says, at its own pages or by changing the subscription; then reconcile.",
        "Look at it",
        subject_link,
    ),
    ProblemKind.SILENT: Advice(
        "Test the subscription: either nothing happens at the provider, or its webhooks do not arrive.",
        "Test",
        _do("test"),
    ),
    ProblemKind.ROTATION: Advice(
        "Test the subscription or wait for an event: the first request that is proved by the new secret ends the old "
        "one. To end the old one without that, rotate again and revoke.",
        "Test",
        _do("test"),
    ),
    ProblemKind.CREDENTIALS: Advice(
        "Get new credentials at the provider and enter them; what failed is then tried again at once.",
        "Enter credentials",
        _edit_account,
    ),
    ProblemKind.PERMISSION: Advice(
        "Grant the permission at the provider, then check the account.",
        "Look at the account",
        subject_link,
    ),
    ProblemKind.THROTTLED: Advice(
        "Wait; renewals go first. If it comes often, ask the provider for a higher limit.",
        "Look at the account",
        subject_link,
    ),
    ProblemKind.UNREACHABLE: Advice(
        "See whether the provider reports an outage, and whether this machine reaches it.",
        "Look at the account",
        subject_link,
    ),
    ProblemKind.CLONE: Advice(
        "If this installation has moved, confirm its address. If it is a copy, leave it so, or set PUBLIC_URL right.",
        "Look at the address",
        _copies,
    ),
    ProblemKind.QUARANTINE: Advice(
        "Read why they cannot be read. After an update that can read them, reprocess them; nothing is lost.",
        "Read why",
        _requests("quarantined"),
    ),
    ProblemKind.REJECTED_REQUESTS: Advice(
        "If they are the provider's, its secret differs from ours, or its address is not allowed: reconcile, or "
        "allow it, then reprocess them. Else ignore them.",
        "Look at them",
        _requests("rejected"),
    ),
    ProblemKind.BACKLOG: Advice(
        "See that the worker runs and what its log says; the requests are kept and are read as soon as it can.",
        "See the requests",
        _backlog,
    ),
    ProblemKind.SPOOL: Advice(
        "Requests that wait go into the database by themselves; free its disk, or see to what the message names.",
        "See the installation",
        _installation,
    ),
    ProblemKind.WORKER_DOWN: Advice(
        "Start the worker, or the message broker if the worker runs; read its log.",
        "See the installation",
        _installation,
    ),
    ProblemKind.SCHEDULER_DOWN: Advice(
        "Start a worker: the scheduler runs in it, and without it nothing is renewed.",
        "See the installation",
        _installation,
    ),
    ProblemKind.NOTIFYING: Advice(
        "Press the channel's test button: it says exactly what goes wrong.",
        "See the channels",
        _channel,
    ),
}
