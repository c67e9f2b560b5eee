"""A changed PUBLIC_URL is reported, and confirmed by a user."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from providers.models import HistoryEntry
from subscriptions.models import Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import Control

pytestmark = pytest.mark.usefixtures("receiver_answers")

PAGE = "/admin/subscriptions/subscription/address/"
NEW = "https://new.example.test"


@pytest.fixture
def moved(subscription: Subscription, settings: Settings) -> Subscription:
    reconcile(subscription, details=True)
    settings.PUBLIC_URL = NEW
    subscription.refresh_from_db()
    return subscription


def test_the_home_page_reports_a_changed_public_url(superuser: Client, moved: Subscription) -> None:
    page = superuser.get("/admin/").content.decode()
    assert "PUBLIC_URL changed" in page
    assert PAGE in page


def test_the_page_explains_both_cases(superuser: Client, moved: Subscription) -> None:
    page = superuser.get(PAGE).content.decode()
    assert NEW in page
    assert moved.callback_url.partition("/hooks/")[0] in page
    assert "This is a copy" in page
    assert "This installation was moved" in page


def test_a_user_confirms_the_move(superuser: Client, moved: Subscription, control: Control) -> None:
    page = superuser.post(PAGE, {"public_url": NEW}, follow=True).content.decode()
    assert "Nothing was changed" in page
    page = superuser.post(PAGE, {"public_url": "https://other.example.test", "sure": "1"}, follow=True).content.decode()
    assert "Nothing was changed" in page
    page = superuser.post(PAGE, {"public_url": NEW, "sure": "1"}, follow=True).content.decode()
    assert "1 subscription moved" in page
    assert "Every subscription is registered with" in page
    moved.refresh_from_db()
    reconcile(moved)
    assert control.remotes()[0]["url"].startswith(NEW)
    assert HistoryEntry.objects.get(action="address confirmed").actor == "staff:ann"


def test_nothing_is_reported_while_the_public_url_is_unchanged(superuser: Client, subscription: Subscription) -> None:
    assert "Every subscription is registered with" in superuser.get(PAGE).content.decode()
    assert "PUBLIC_URL changed" not in superuser.get("/admin/").content.decode()


def test_viewers_cannot_confirm(viewer: Client, unprivileged: Client, moved: Subscription) -> None:
    page = viewer.get(PAGE).content.decode()
    assert "This installation was moved" in page
    assert '<form method="post"' not in page.partition("This installation was moved")[2].partition("</section>")[0]
    assert viewer.post(PAGE, {"public_url": NEW, "sure": "1"}).status_code == 403
    assert unprivileged.get(PAGE).status_code == 403
