"""Bearer tokens: the command, the row, scopes, and revocation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from config.models import ApiToken, Scope
from providers.models import HistoryEntry
from tests.api.conftest import Api, Issue

pytestmark = pytest.mark.django_db


def create(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("create_api_token", *arguments)
    return capsys.readouterr().out


def test_the_command_prints_the_token_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    printed = create(capsys, "ci")
    assert printed.endswith("\n")
    token = printed.rstrip("\n")
    assert token.startswith("hkt_")
    assert len(token) == 47
    row = ApiToken.objects.get()
    assert (row.name, row.scopes, row.last_used_at) == ("ci", Scope.values, None)
    assert token.startswith(row.prefix)
    assert Api(token).get("/providers/").status == 200
    entry = HistoryEntry.objects.get()
    assert (entry.actor, entry.action, entry.subject_name) == ("command:create_api_token", "created", "ci")


def test_only_a_digest_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    token = create(capsys, "ci").strip()
    row = ApiToken.objects.values().get()
    assert token not in str(row)
    assert token[12:] not in str(HistoryEntry.objects.values().get())
    assert len(row["digest"]) == 64


def test_the_command_takes_scopes(capsys: pytest.CaptureFixture[str]) -> None:
    create(capsys, "ci", "--scope", "events:read", "--scope", "accounts:write")
    assert ApiToken.objects.get().scopes == ["accounts:write", "events:read"]


@pytest.mark.parametrize("arguments", [["ci", "--scope", "events"], [" "], ["x" * 101], ["a\nb"], []])
def test_the_command_refuses_unknown_scopes(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_api_token", *arguments)
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer hkt_wrong", "Bearer " + "x" * 5000, "Bearer hkt_a hkt_b", "Bearer hkt_\xff"],
)
def test_a_bad_token_is_401(header: str) -> None:
    response = Api(None).get("/providers/", Authorization=header)
    assert (response.status, response.json["code"]) == (401, "bad_token")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="Hookkeeper"'


@pytest.mark.parametrize("header", ["Basic YTpi", "Token hkt_x", "hkt_x", ""])
def test_another_authentication_scheme_is_401(header: str) -> None:
    response = Api(None).get("/providers/", Authorization=header)
    assert (response.status, response.json["code"]) == (401, "not_authenticated")


def test_a_revoked_token_is_401(api: Api) -> None:
    ApiToken.objects.get().revoke()
    assert api.get("/providers/").json["code"] == "bad_token"


def test_a_session_cookie_does_not_authenticate() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("admin", password="x"))
    assert client.get("/api/v1/accounts/").status_code == 401


def test_write_includes_read_but_not_the_other_way_round(with_scopes: Issue) -> None:
    writer, reader = with_scopes("accounts:write"), with_scopes("accounts:read")
    assert writer.get("/accounts/").status == 200
    assert reader.get("/accounts/").status == 200
    assert reader.post("/accounts/", {}).status == 403
    assert writer.post("/accounts/", {}).status == 400
    assert writer.get("/subscriptions/").status == 403


def test_a_token_without_scopes_reads_providers_only(with_scopes: Issue) -> None:
    token = with_scopes()
    assert token.get("/providers/").status == 200
    assert {token.get(path).status for path in ("/accounts/", "/subscriptions/", "/requests/", "/events/")} == {403}


def test_last_use_is_stored_at_most_once_a_minute(api: Api) -> None:
    api.get("/providers/")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    api.get("/providers/")
    assert ApiToken.objects.get().last_used_at == first
    for wrong in (timezone.now() - timedelta(seconds=61), timezone.now() + timedelta(days=1)):
        ApiToken.objects.update(last_used_at=wrong)
        api.get("/providers/")
        assert abs(ApiToken.objects.get().last_used_at - timezone.now()) < timedelta(seconds=30)  # type: ignore[operator]
