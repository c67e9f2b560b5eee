"""An installation that is not where its subscriptions were registered for says so, and a person confirms it."""

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


def test_home_says_it_and_leads_there(boss: Client, moved: Subscription) -> None:
    page = boss.get("/admin/").content.decode()
    assert "not where its subscriptions were registered for" in page
    assert PAGE in page


def test_says_in_words_what_it_means(boss: Client, moved: Subscription) -> None:
    page = boss.get(PAGE).content.decode()
    assert NEW in page
    assert moved.callback_url.partition("/hooks/")[0] in page
    assert "It is a copy" in page
    assert "It has moved" in page


def test_a_person_confirms_it(boss: Client, moved: Subscription, control: Control) -> None:
    page = boss.post(PAGE, {"public_url": NEW}, follow=True).content.decode()
    assert "Nothing was changed" in page
    page = boss.post(PAGE, {"public_url": "https://other.example.test", "sure": "1"}, follow=True).content.decode()
    assert "Nothing was changed" in page
    page = boss.post(PAGE, {"public_url": NEW, "sure": "1"}, follow=True).content.decode()
    assert "1 subscription moved" in page
    assert "All is well" in page
    moved.refresh_from_db()
    reconcile(moved)
    assert control.remotes()[0]["url"].startswith(NEW)
    assert HistoryEntry.objects.get(action="address confirmed").actor == "staff:ann"


def test_all_is_well_as_long_as_it_is_where_it_was(boss: Client, subscription: Subscription) -> None:
    assert "All is well" in boss.get(PAGE).content.decode()
    assert "not where its subscriptions" not in boss.get("/admin/").content.decode()


def test_who_may_only_look_cannot_confirm(viewer: Client, nobody: Client, moved: Subscription) -> None:
    page = viewer.get(PAGE).content.decode()
    assert "It has moved" in page
    assert '<form method="post"' not in page.partition("It has moved")[2].partition("</section>")[0]
    assert viewer.post(PAGE, {"public_url": NEW, "sure": "1"}).status_code == 403
    assert nobody.get(PAGE).status_code == 403
