"""The page that compares the providers."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from providers.contract.capability_table import rows
from providers.contract.registry import all_providers

pytestmark = pytest.mark.django_db
PATH = "/admin/providers/table/"


def test_the_table_shows_every_provider_and_question() -> None:
    client = Client()
    client.force_login(User.objects.create_user("ann", is_staff=True))
    page = client.get(PATH).content.decode()
    for provider in all_providers().values():
        assert provider.name in page
    for row in rows(all_providers().values()):
        assert row.capability in page


def test_the_table_is_for_staff_only() -> None:
    assert Client().get(PATH).status_code == 302
