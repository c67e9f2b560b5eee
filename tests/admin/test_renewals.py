"""The renewals page: when each lease is renewed, and how its last renewal ended."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from providers.models import ProviderAccount
from subscriptions.admin import renewal_pages
from subscriptions.lifecycle import desired_state
from subscriptions.models import Operation, OperationStatus, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control

pytestmark = pytest.mark.usefixtures("receiver_answers")

PAGE = "/admin/subscriptions/subscription/renewals/"


def create_leases(account: ProviderAccount, count: int) -> list[Subscription]:
    """Create subscriptions with consecutive renewals, two of them at the same moment, and return them in that order."""
    now = timezone.now()
    for number in range(count):
        row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", name=f"Lease {number:02}")
        due = now + timedelta(minutes=count - (number or 1))
        Subscription.objects.filter(pk=row.pk).update(
            renew_at=due, expires_at=due + timedelta(hours=1), granted=timedelta(hours=3), remote_id=f"r{number}"
        )
    return list(Subscription.objects.order_by("renew_at", "pk"))


def test_shows_the_lease_and_the_last_renewal(superuser: Client, subscription: Subscription, control: Control) -> None:
    reconcile(subscription, details=True)
    row = Subscription.objects.get()
    page = superuser.get(PAGE).content.decode()
    assert "Finance" in page
    assert "register" in page
    assert "Succeeded" in page
    assert "90 s" in page or "89 s" in page
    Operation.objects.create(
        subscription=row,
        action="renew",
        actor="clock",
        status=OperationStatus.FAILED,
        error="The provider was unavailable.",
    )
    Subscription.objects.update(failures=2, due_at=timezone.now() + timedelta(seconds=30))
    page = superuser.get(PAGE).content.decode()
    assert "The provider was unavailable." in page
    assert "2 consecutive failures" in page


def test_pages_are_ordered_by_renewal_and_complete(
    superuser: Client, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal_pages, "PAGE_SIZE", 2)
    expected, seen, url = create_leases(account, 5), [], PAGE
    while True:
        context = superuser.get(url).context
        seen += [item.row.pk for item in context["renewals"]]
        if not context["later"]:
            break
        url = PAGE + context["later"]
    assert seen == [row.pk for row in expected]


@pytest.mark.slow
def test_the_number_of_queries_does_not_grow(superuser: Client, account: ProviderAccount) -> None:
    create_leases(account, 3)
    with CaptureQueriesContext(connection) as queries_of_3:
        superuser.get(PAGE)
    create_leases(account, 20)
    with CaptureQueriesContext(connection) as queries_of_23:
        superuser.get(PAGE)
    assert len(queries_of_23) == len(queries_of_3)
    assert not any("COUNT(" in query["sql"].upper() or "OFFSET" in query["sql"].upper() for query in queries_of_23)


def test_disabled_and_manually_renewed_leases_are_marked(superuser: Client, account: ProviderAccount) -> None:
    rows = create_leases(account, 2)
    Subscription.objects.filter(pk=rows[0].pk).update(auto_renew=False)
    Subscription.objects.filter(pk=rows[1].pk).update(enabled=False)
    page = superuser.get(PAGE).content.decode()
    assert ">manual<" in page
    assert ">disabled<" in page


def test_an_empty_list_and_invalid_keys(superuser: Client, unprivileged: Client) -> None:
    assert "No subscriptions with a lease." in superuser.get(PAGE).content.decode()
    for after in ("x", "2026-01-01T00:00:00_x", "_7", "2999-01-01T00:00:00_7"):
        assert superuser.get(PAGE, {"after": after}).status_code == 200
    assert unprivileged.get(PAGE).status_code == 403


def test_the_home_page_links_to_the_renewals(superuser: Client, subscription: Subscription) -> None:
    assert PAGE in superuser.get("/admin/").content.decode()
