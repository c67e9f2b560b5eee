"""A person enters the secret of a manually managed subscription at a provider that creates secrets."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.models import ApiToken
from providers.conflict import NotSupported
from providers.models import HistoryEntry
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, actions, desired_state
from subscriptions.models import Managed, Subscription

pytestmark = pytest.mark.django_db

SECRET = "the-token-that-was-shown-once"


@pytest.fixture
def manual(sandbox: Sandbox) -> Subscription:
    login = sandbox.logins("entrust")[0]
    account = accounts.add_account(
        provider="entrust", name="E", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    config = {"events": [{"type": "user.created"}]}
    return desired_state.subscribe(account, config=config, by="staff:ann", managed=Managed.MANUAL)


def test_without_the_secret_the_receiver_answers_503(manual: Subscription) -> None:
    response = Client().post(f"/hooks/{manual.token}", b"{}", content_type="application/json")
    assert response.status_code == 503
    assert response.headers["Retry-After"]


def test_a_secret_entered_over_the_api_is_stored_and_logged_without_its_value(manual: Subscription) -> None:
    headers = {"Authorization": f"Bearer {ApiToken.issue('ci')[1]}"}
    path = f"/api/v1/subscriptions/{manual.uid}/secret/"
    for wrong in ({}, {"value": ""}, {"value": 3}, {"value": "x", "more": 1}):
        assert Client().patch(path, wrong, content_type="application/json", headers=headers).status_code == 400
    assert Client().patch(path, {"value": SECRET}, content_type="application/json", headers=headers).status_code == 204
    manual.refresh_from_db()
    assert manual.secrets == [SECRET]
    entry = HistoryEntry.objects.latest("id")
    assert (entry.actor, entry.action) == ("api:ci", "secret entered")
    assert SECRET not in str(entry.changes)
    response = Client().post(f"/hooks/{manual.token}", b"{}", content_type="application/json")
    assert response.status_code == 401, "the secret is known now, and the request lacks it"


def test_a_secret_entered_in_the_dashboard_keeps_the_previous_one_accepted(manual: Subscription) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    page = f"/admin/subscriptions/subscription/{manual.pk}/change/"
    assert "which shows it only once" in client.get(page).content.decode()
    for value in ("", "the-first", SECRET):
        client.post(f"/admin/subscriptions/subscription/{manual.pk}/secret/", {"value": value})
    manual.refresh_from_db()
    assert manual.secrets == [SECRET, "the-first"]


def test_no_secret_is_entered_if_hookkeeper_creates_it(subscription: Subscription) -> None:
    with pytest.raises(NotSupported):
        actions.enter_secret(subscription, SECRET, by="staff:ann")
    headers = {"Authorization": f"Bearer {ApiToken.issue('ci')[1]}"}
    path = f"/api/v1/subscriptions/{subscription.uid}/secret/"
    assert Client().patch(path, {"value": SECRET}, content_type="application/json", headers=headers).status_code == 409
