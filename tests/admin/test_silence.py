"""Expected events and silences on the page and in the form of a subscription."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from subscriptions.models import Subscription

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

FORM_DATA = {
    "name": "Finance",
    "enabled": "on",
    "auto_renew": "on",
    "config.event_types": ["fs:*"],
    "config.paths.lines": "/Shared/Finance",
}


def page_of(name: str, row: Subscription) -> str:
    return reverse(f"admin:subscriptions_subscription_{name}", args=[row.pk])


@pytest.mark.slow
def test_expected_quiet_times_are_saved_and_shown(superuser: Client, subscription: Subscription) -> None:
    page = superuser.get(page_of("edit", subscription)).content.decode()
    assert "A suggestion is shown here" in page
    form_data = {
        **FORM_DATA,
        "quiet_minutes": "90",
        "quiet_start": "22:00",
        "quiet_until": "06:00",
        "quiet_weekends": "on",
        "quiet_zone": "Europe/Berlin",
    }
    shown = superuser.post(page_of("edit", subscription), form_data, follow=True).content.decode()
    subscription.refresh_from_db()
    assert subscription.quiet_after == 5400
    assert subscription.quiet_hours == {
        "time_zone": "Europe/Berlin",
        "from": "22:00",
        "until": "06:00",
        "weekends": True,
    }
    assert "1 h 30 min" in shown
    assert "quiet hours: 22:00 to 06:00 and weekends (Europe/Berlin)" in " ".join(shown.split())
    again = superuser.get(page_of("edit", subscription)).content.decode()
    assert 'name="quiet_minutes" id="id_quiet_minutes" value="90"' in again
    assert 'value="22:00"' in again
    superuser.post(page_of("edit", subscription), {**FORM_DATA, "quiet_zone": "UTC"})
    subscription.refresh_from_db()
    assert subscription.quiet_after is None
    assert subscription.quiet_hours is None


@pytest.mark.parametrize(
    ("form_data", "field"),
    [
        ({"quiet_minutes": "1"}, "quiet_minutes"),
        ({"quiet_minutes": "soon"}, "quiet_minutes"),
        ({"quiet_start": "22:00"}, "quiet_start"),
        ({"quiet_start": "late", "quiet_until": "06:00"}, "quiet_start"),
        ({"quiet_start": "22:00", "quiet_until": "22:00"}, "quiet_start"),
        ({"quiet_weekends": "on", "quiet_zone": "Mars"}, "quiet_zone"),
    ],
)
def test_invalid_quiet_times_are_field_errors(
    superuser: Client, subscription: Subscription, form_data: dict[str, str], field: str
) -> None:
    response = superuser.post(page_of("edit", subscription), {**FORM_DATA, **form_data})
    assert field in response.context["form"].errors
    assert 'id="silence" open>' in response.content.decode()
    subscription.refresh_from_db()
    assert subscription.quiet_after is None


def test_the_form_shows_the_suggestion_and_the_page_the_silence(superuser: Client, subscription: Subscription) -> None:
    Subscription.objects.filter(pk=subscription.pk).update(
        quiet_suggestion=64800,
        silent_since=timezone.now() - timedelta(hours=3),
        silence_reason="The receiver answers at its callback URL.",
    )
    page = superuser.get(page_of("edit", subscription)).content.decode()
    assert '<details class="hk-card hk-fold" id="silence">' in page, "seldom used, so it is folded"
    assert "<strong>1080</strong> (18 h)" in " ".join(page.split())
    shown = superuser.get(page_of("change", subscription)).content.decode()
    assert "No event since" in shown
    assert "The receiver answers at its callback URL." in shown
    assert "suggested: 18 h" in shown
