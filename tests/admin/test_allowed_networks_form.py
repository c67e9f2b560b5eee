"""Allowed networks of a subscription in the dashboard."""

from __future__ import annotations

import pytest
from django.test import Client

from providers.models import HistoryEntry
from subscriptions.models import Subscription
from tests.admin.test_silence import FORM_DATA, page_of

pytestmark = pytest.mark.django_db


@pytest.mark.slow
@pytest.mark.usefixtures("receiver_answers")
def test_networks_are_changed_in_the_dashboard(superuser: Client, subscription: Subscription) -> None:
    edit = page_of("edit", subscription)
    form_data = {**FORM_DATA, "allowed_networks": "192.0.2.0/24\r\n fd00::/8, 10.1.2.3\r\n"}
    shown = superuser.post(edit, form_data, follow=True).content.decode()
    subscription.refresh_from_db()
    assert subscription.allowed_networks == ["192.0.2.0/24", "fd00::/8", "10.1.2.3/32"]
    assert "192.0.2.0/24" in shown
    assert "192.0.2.0/24\nfd00::/8\n10.1.2.3/32</textarea>" in superuser.get(edit).content.decode()
    entry = HistoryEntry.objects.filter(action="changed").latest("pk")
    assert entry.actor == "staff:ann"
    invalid = superuser.post(edit, {**FORM_DATA, "allowed_networks": "192.0.2.1/24"})
    assert "the network is 192.0.2.0/24" in invalid.context["form"].errors["allowed_networks"][0]
    superuser.post(edit, FORM_DATA)
    subscription.refresh_from_db()
    assert subscription.allowed_networks == []
    assert '<span class="hk-muted hk-small">any</span>' in superuser.get(edit).content.decode()
