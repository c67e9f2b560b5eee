"""API tokens: creating, showing once, revoking."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from config.models import ApiToken
from providers.models import HistoryEntry
from tests.admin.conftest import log_in_staff

ADD = "/admin/config/apitoken/add/"


def test_a_token_is_shown_once(superuser: Client) -> None:
    response = superuser.post(ADD, {"name": "importer", "scopes": ["events:read", "accounts:write"]})
    page = response.content.decode()
    match = re.search(r'id="token">([^<]+)<', page)
    assert match
    token = ApiToken.find(match[1])
    assert token is not None
    assert token.scopes == ["accounts:write", "events:read"]
    assert "no-store" in response["Cache-Control"]
    details_page = superuser.get(reverse("admin:config_apitoken_change", args=[token.pk])).content.decode()
    assert match[1] not in details_page
    assert token.prefix in details_page
    entry = HistoryEntry.objects.get()
    assert (entry.actor, entry.action, entry.subject_type) == ("staff:ann", "created", "token")
    assert match[1] not in str(entry.changes)


def test_a_token_needs_a_name_and_known_scopes(superuser: Client) -> None:
    for form_data in ({"scopes": ["events:read"]}, {"name": "x"}, {"name": "x", "scopes": ["events:everything"]}):
        assert superuser.post(ADD, form_data).context["form"].errors
    assert not ApiToken.objects.exists()


def test_a_revoked_token_is_not_accepted(superuser: Client) -> None:
    token, text = ApiToken.issue("importer", ["events:read"])
    revoke = reverse("admin:config_apitoken_revoke", args=[token.pk])
    assert superuser.get(revoke).status_code == 405
    assert "is not accepted any more" in superuser.post(revoke, follow=True).content.decode()
    assert ApiToken.find(text) is None
    assert HistoryEntry.objects.get().action == "revoked"
    assert (
        "Revoke permanently"
        not in superuser.get(reverse("admin:config_apitoken_change", args=[token.pk])).content.decode()
    )


def test_tokens_need_permissions(viewer: Client) -> None:
    token, text = ApiToken.issue("importer")
    assert viewer.get(ADD).status_code == 403
    assert viewer.post(reverse("admin:config_apitoken_revoke", args=[token.pk])).status_code == 403
    assert log_in_staff("al", "config.add_apitoken").get(ADD).status_code == 200
    assert ApiToken.find(text) is not None


@pytest.mark.parametrize(
    ("permissions", "scope", "allowed"),
    [
        ((), "events:read", False),
        (("events.view_event",), "events:read", False),
        (("events.view_event", "events.view_webhookrequest"), "events:read", True),
        (("events.view_event", "events.view_webhookrequest"), "events:write", False),
        (("providers.view_provideraccount",), "accounts:read", True),
        (("providers.view_provideraccount", "providers.change_provideraccount"), "accounts:write", False),
        (("subscriptions.view_subscription",), "secrets:read", False),
        (("subscriptions.change_subscription",), "secrets:read", True),
    ],
)
def test_nobody_gives_a_token_more_than_they_may_do_themselves(
    db: None, permissions: tuple[str, ...], scope: str, allowed: bool
) -> None:
    staff = log_in_staff("al", "config.add_apitoken", "config.view_apitoken", *permissions)
    assert (f'value="{scope}"' in staff.get(ADD).content.decode()) is allowed
    staff.post(ADD, {"name": "importer", "scopes": [scope]})
    assert [token.scopes for token in ApiToken.objects.all()] == ([[scope]] if allowed else [])
