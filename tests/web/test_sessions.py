"""Sessions: the database holds only the digest of their keys."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

pytestmark = pytest.mark.django_db


def test_the_stored_key_is_not_accepted_as_a_cookie(admin_client: Client) -> None:
    assert admin_client.get("/admin/").status_code == 200
    key = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    stored = Session.objects.get().session_key
    assert stored != key
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = stored
    assert thief.get("/admin/").status_code == 302


def test_logging_out_deletes_the_session(admin_client: Client) -> None:
    key = admin_client.cookies[settings.SESSION_COOKIE_NAME].value
    admin_client.post("/admin/logout/")
    assert not Session.objects.exists()
    again = Client()
    again.cookies[settings.SESSION_COOKIE_NAME] = key
    assert again.get("/admin/").status_code == 302


def test_a_session_survives_a_new_key(admin_client: Client) -> None:
    session = admin_client.session
    session["note"] = "kept"
    session.cycle_key()
    assert Session.objects.count() == 1
    assert session.session_key
    assert session.exists(session.session_key)
    assert type(session)(session.session_key)["note"] == "kept"
