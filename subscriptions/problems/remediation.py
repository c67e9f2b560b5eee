"""The next action for each kind of problem: its text, and the dashboard page for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from subscriptions.models import Problem, ProblemKind


@dataclass(frozen=True, slots=True)
class Advice:
    """The next action: its text, the label of its button, and the page that the button opens."""

    action: str
    button: str | Callable[[Problem], str]
    link: Callable[[Problem], str]


def action_of(problem: Problem) -> str:
    """Return the next action as a sentence."""
    return problem.action or ADVICE[ProblemKind(problem.kind)].action


def button_of(problem: Problem) -> str:
    """Return the label of the button."""
    button = ADVICE[ProblemKind(problem.kind)].button
    return button if isinstance(button, str) else button(problem)


def link_of(problem: Problem) -> str:
    """Return the dashboard path that the button opens."""
    return ADVICE[ProblemKind(problem.kind)].link(problem)


def subject_link(problem: Problem) -> str:
    """Return the dashboard path of the subject."""
    if problem.subscription_id:
        return reverse("admin:subscriptions_subscription_change", args=[problem.subscription_id])
    if problem.account_id:
        return reverse("admin:providers_provideraccount_change", args=[problem.account_id])
    return _installation_page(problem)


def _action_page(action: str) -> Callable[[Problem], str]:
    """Return a function for the path of the page that previews and runs an action on the subscription."""

    def link(problem: Problem) -> str:
        page = reverse("admin:subscriptions_subscription_actions")
        return f"{page}?action={action}&pk={problem.subscription_id}"

    return link


def _plan_page(problem: Problem) -> str:
    return f"{subject_link(problem)}?plan=now#plan"


def _account_form(problem: Problem) -> str:
    return reverse("admin:providers_provideraccount_edit", args=[problem.account_id])


def _requests_page(outcome: str) -> Callable[[Problem], str]:
    def link(problem: Problem) -> str:
        page = reverse("admin:events_webhookrequest_changelist")
        return f"{page}?subscription={problem.subscription_id}&outcome={outcome}"

    return link


def _allow_page(problem: Problem) -> str:
    return reverse("admin:events_webhookrequest_allow", args=[problem.subscription_id])


def _allow_label(problem: Problem) -> str:
    """Return what the button does, with the address if there is only one."""
    addresses = (problem.sample or {}).get("addresses", {})
    sender = next(iter(addresses)) if len(addresses) == 1 else f"{len(addresses)} addresses"
    return f"Allow {sender} and release {problem.count:,} request{'' if problem.count == 1 else 's'}"


def _backlog_page(problem: Problem) -> str:
    return reverse("admin:events_webhookrequest_changelist") + "?outcome=received"


def _channels_page(problem: Problem) -> str:
    return reverse("admin:subscriptions_channel_changelist")


def _address_page(problem: Problem) -> str:
    if problem.subscription_id:
        return subject_link(problem)
    return reverse("admin:subscriptions_subscription_address")


def _installation_page(problem: Problem) -> str:
    return reverse("admin:index") + "#installation"


ADVICE: dict[ProblemKind, Advice] = {
    ProblemKind.EXPIRING: Advice(
        "Renew the subscription now and read the provider's response.",
        "Renew now",
        _action_page("renew"),
    ),
    ProblemKind.EXPIRED: Advice(
        "Renew the subscription now. It is registered again, or the provider's response says what prevents it.",
        "Renew now",
        _action_page("renew"),
    ),
    ProblemKind.SUSPENDED: Advice(
        "Make sure that PUBLIC_URL is reachable from the internet and responds within a second. Then reconcile.",
        "Reconcile",
        _action_page("reconcile"),
    ),
    ProblemKind.MISSING: Advice(
        "Reconcile the subscription. It is registered again, or the provider's response says what prevents it.",
        "Reconcile",
        _action_page("reconcile"),
    ),
    ProblemKind.DRIFTED: Advice(
        "Compare the fields. Then reconcile to revert them, or change the subscription to the provider's values.",
        "Compare",
        _plan_page,
    ),
    ProblemKind.FAILING: Advice(
        "Follow the provider's message: correct the cause there, or change the subscription. Then reconcile.",
        "View details",
        subject_link,
    ),
    ProblemKind.SILENT: Advice(
        "Test the subscription. The test shows whether webhooks arrive, or whether nothing happens at the provider.",
        "Test",
        _action_page("test"),
    ),
    ProblemKind.ROTATION: Advice(
        "Test the subscription or wait for an event: the first request signed with the new secret ends the old one. "
        "To end the old one now, rotate again and revoke it.",
        "Test",
        _action_page("test"),
    ),
    ProblemKind.CREDENTIALS: Advice(
        "Get new credentials from the provider and enter them. Failed work is then retried at once.",
        "Enter credentials",
        _account_form,
    ),
    ProblemKind.PERMISSION: Advice(
        "Grant the permission at the provider. Then check the account.",
        "View account",
        subject_link,
    ),
    ProblemKind.THROTTLED: Advice(
        "No action is needed; renewals take precedence. If it happens often, ask the provider for a higher limit.",
        "View account",
        subject_link,
    ),
    ProblemKind.UNREACHABLE: Advice(
        "Check whether the provider reports an outage, and whether this machine can reach it.",
        "View account",
        subject_link,
    ),
    ProblemKind.CLONE: Advice(
        "If this installation has moved, confirm its address. If it is a copy, change nothing, or correct PUBLIC_URL.",
        "View address",
        _address_page,
    ),
    ProblemKind.CLOCK: Advice(
        "If the clock is wrong, correct it. If it is right, because the installation was off, resolve this problem: "
        "purging then continues.",
        "View installation",
        _installation_page,
    ),
    ProblemKind.QUARANTINE: Advice(
        "Read why these requests cannot be parsed. They are stored: reprocess them after an update.",
        "View requests",
        _requests_page("quarantined"),
    ),
    ProblemKind.REJECTED_REQUESTS: Advice(
        "If the provider sent them, its secret differs from ours: reconcile, then reprocess them. Otherwise resolve "
        "this problem, which dismisses them.",
        "View requests",
        _requests_page("rejected"),
    ),
    ProblemKind.BLOCKED_REQUESTS: Advice(
        "If the address is the provider's, allow it and release the requests. Otherwise resolve this problem, which "
        "dismisses them.",
        _allow_label,
        _allow_page,
    ),
    ProblemKind.BACKLOG: Advice(
        "Make sure that the worker runs, and read its log. The requests are stored and are processed once it can.",
        "View requests",
        _backlog_page,
    ),
    ProblemKind.SPOOL: Advice(
        "Free disk space for the database, or correct what the message names. Waiting requests are then stored.",
        "View installation",
        _installation_page,
    ),
    ProblemKind.WORKER_DOWN: Advice(
        "Start the worker or, if it runs, the message broker. Read the worker's log.",
        "View installation",
        _installation_page,
    ),
    ProblemKind.SCHEDULER_DOWN: Advice(
        "Start a worker: the scheduler runs in it, and without it nothing is renewed.",
        "View installation",
        _installation_page,
    ),
    ProblemKind.NOTIFYING: Advice(
        "Test the channel; the result says what fails.",
        "View channels",
        _channels_page,
    ),
}
