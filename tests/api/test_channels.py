"""/channels/: list, create, read, change, delete, test."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.db import connection

from providers.models import HistoryEntry
from subscriptions.models import Channel
from subscriptions.notifications import dispatch, transports
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access

pytestmark = pytest.mark.django_db

EMAIL: dict[str, Any] = {"name": "Ops", "kind": "email", "recipients": ["ops@example.com"]}
SECRET_URL = "https://hooks.example.com/services/T0/B0/top-secret"
WEBHOOK: dict[str, Any] = {"name": "Chat", "kind": "webhook", "url": SECRET_URL}


@pytest.fixture
def path(api: Api) -> str:
    return f"/channels/{api.post('/channels/', WEBHOOK).json['id']}/"


def test_a_channel_is_created_with_defaults(api: Api) -> None:
    response = api.post("/channels/", EMAIL)
    assert response.status == 201
    data = response.json
    assert (data["every_minutes"], data["remind_hours"], data["min_severity"]) == (10, 24, "warning")
    assert data["recoveries"] is data["enabled"] is True
    assert (data["failures"], data["last_error"], data["sent_at"]) == (0, "", None)
    assert api.get(f"/channels/{data['id']}/").json == data
    assert [item["id"] for item in api.get("/channels/").json["results"]] == [data["id"]]


def test_the_webhook_url_is_never_shown(api: Api, path: str) -> None:
    assert "url" not in api.get(path).json
    api.patch(path, {"url": f"{SECRET_URL}-2"})
    changes = [entry.changes for entry in HistoryEntry.objects.filter(subject_type="channel")]
    assert "top-secret" not in str(changes)
    assert {"field": "url", "from": "***", "to": "***"} in changes[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT url FROM subscriptions_channel")
        assert "hooks.example.com" not in str(cursor.fetchall())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({**EMAIL, "recipients": []}, "recipients", "required"),
        ({**EMAIL, "recipients": ["ok@example.com", "nobody"]}, "recipients.1", "invalid"),
        ({**WEBHOOK, "url": "ftp://example.com"}, "url", "invalid"),
        ({"name": "Chat", "kind": "webhook"}, "url", "required"),
        ({**EMAIL, "kind": "pigeon"}, "kind", "invalid_choice"),
        ({**EMAIL, "name": ""}, "name", "blank"),
        ({**EMAIL, "every_minutes": 0}, "every_minutes", "min_value"),
        ({**EMAIL, "remind_hours": 9999}, "remind_hours", "max_value"),
        ({**EMAIL, "color": "red"}, "color", "unknown"),
    ],
)
def test_an_invalid_value_is_an_error_of_its_field(api: Api, body: dict[str, Any], field: str, code: str) -> None:
    response = api.post("/channels/", body)
    assert (response.status, response.fields()) == (400, {field: code})
    assert not Channel.objects.exists()


def test_a_change_keeps_other_fields_and_retries_failures(api: Api, path: str) -> None:
    Channel.objects.update(failures=5, last_error="No.")
    response = api.patch(path, {"every_minutes": 30, "remind_hours": 0, "min_severity": "critical", "enabled": False})
    assert response.status == 200
    data = response.json
    assert (data["every_minutes"], data["remind_hours"], data["min_severity"]) == (30, 0, "critical")
    assert (data["enabled"], data["failures"], data["last_error"]) == (False, 0, "")
    row = Channel.objects.get()
    assert (row.url, row.remind_every) == (SECRET_URL, None)
    assert api.patch(path, {"kind": "email"}).fields() == {"kind": "immutable"}
    assert api.patch(path, {"kind": "webhook"}).status == 200
    assert api.patch(path, {"url": "no address"}).fields() == {"url": "invalid"}


def test_a_channel_is_deleted(api: Api, path: str) -> None:
    assert api.delete(path).status == 204
    assert api.get(path).status == 404
    assert HistoryEntry.objects.filter(subject_type="channel").first().action == "deleted"  # type: ignore[union-attr]


def test_a_test_returns_its_result(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/channels/{api.post('/channels/', EMAIL).json['id']}/test/"
    assert api.post(path).json == {"ok": True, "detail": "Accepted by the mail server for ops@example.com."}
    assert [message.to for message in mail.outbox] == [["ops@example.com"]]

    def fail(*_: object, **__: object) -> str:
        raise transports.DeliveryFailed("The mail server refused the login.")

    monkeypatch.setattr(dispatch, "deliver", fail)
    response = api.post(path)
    assert (response.status, response.json) == (200, {"ok": False, "detail": "The mail server refused the login."})


def test_a_channel_that_cannot_be_decrypted_can_be_given_a_new_url(api: Api, path: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_channel SET url = 'not ours'")
    assert api.get(path).status == 200
    assert api.get("/channels/").status == 200
    tried = api.post(f"{path}test/").json
    assert not tried["ok"]
    assert "ENCRYPTION_KEYS" in tried["detail"]
    assert api.patch(path, {"name": "Chat 2"}).fields() == {"url": "required"}
    assert api.patch(path, {"url": SECRET_URL}).status == 200
    assert Channel.objects.get().url == SECRET_URL


def test_each_action_requires_its_scope(with_scopes: Issue, anonymous: Api, api: Api, path: str) -> None:
    wrong = with_scopes("events:write", "accounts:write", "secrets:read")
    for method, endpoint, scope, other in (
        ("GET", "/channels/", "subscriptions:read", "DELETE"),
        ("POST", "/channels/", "subscriptions:write", "DELETE"),
        ("GET", path, "subscriptions:read", "POST"),
        ("PATCH", path, "subscriptions:write", "POST"),
        ("DELETE", path, "subscriptions:write", "POST"),
        ("POST", f"{path}test/", "subscriptions:write", "GET"),
    ):
        check_access(endpoint, method, anonymous=anonymous, wrong=wrong, scope=scope, wrong_method=other, api=api)


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "test/")])
@pytest.mark.parametrize("uid", [UNKNOWN_ID, "x"])
def test_unknown_and_malformed_ids_are_404(api: Api, method: str, end: str, uid: str) -> None:
    assert api.call(method, f"/channels/{uid}/{end}", {} if method == "PATCH" else None).status == 404
