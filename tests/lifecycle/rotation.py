"""Helpers for the tests of secret rotation: reconcile, send requests with a secret, and run code during a step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from providers.contract.capabilities import Proof
from providers.contract.registry import all_providers
from subscriptions.models import Subscription
from subscriptions.planning.steps import Step, StepAction
from subscriptions.reconciliation.apply import Boundary
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.timeline import SECRET, Timeline
from tests.harness.fixtures import Control

ROTATABLE = [slug for slug, plugin in all_providers().items() if plugin.capabilities.proof is not Proof.URL]


def reconciled(row: Subscription) -> Subscription:
    assert reconcile(row, details=True)
    row.refresh_from_db()
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


def secret_events(row: Subscription) -> list[str]:
    """Return the texts of the timeline entries about secrets, oldest first."""
    entries = Timeline(row, frozenset({SECRET})).part(20)
    return [entry.title for entry in reversed(entries)]


def their_secret(control: Control) -> str:
    (remote,) = control.remotes()
    return str(remote["authHeader"])


def during(monkeypatch: pytest.MonkeyPatch, action: StepAction, where: Boundary, happens: Callable[[], object]) -> None:
    """Call the function once, when the next such step reaches this boundary."""
    happened: list[bool] = []

    def mark_boundary(step: Step, boundary: Boundary) -> None:
        if (step.action, boundary) == (action, where) and not happened:
            happened.append(True)
            happens()

    monkeypatch.setattr("subscriptions.reconciliation.apply.mark_boundary", mark_boundary)
