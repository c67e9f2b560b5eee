"""Files.com's management calls word for word, its refusals, its settings and config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from providers.contract.base import Registration
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidInput,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
    Unsupported,
)
from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.files_com import provider
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.schemas import FilesComConfig, FilesComCredentials, FilesComSettings
from tests.harness.provider_contract import CALLBACK_URL, LOOPBACK, Scripted, StubServer

SECRET = "Bearer hk_" + "s3cr3t" * 6
KEY = "key-0123456789"
TOKEN = "tok-verification-1"


# -- What goes out and comes back, word for word -------------------------------------------------------------------

VALUE: dict[str, object] = {
    "urls": [CALLBACK_URL, "https://backup.example.test/in"],
    "method": "POST",
    "encoding": "JSON",
    "triggers": ["update", "create"],
    "headers": {"Authorization": SECRET},
}
BEHAVIOR: dict[str, Any] = {
    "id": 8123,
    "path": "inbox",
    "behavior": "webhook",
    "name": "hub",
    "description": "",
    "recursive": True,
    "disable_parent_folder_behavior": False,
    "attachment_url": None,
    "value": VALUE,
}
CONFIG = FilesComConfig(
    path="inbox",
    triggers=("update", "create"),
    method="POST",
    encoding="JSON",
    redundant_urls=("https://backup.example.test/in",),
)
BEHAVIORS = "/api/rest/v1/behaviors"
ODD_IDS: tuple[object, ...] = ("7", None, True, -1, 1.5, [], 2**63, 10**400)


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Desk:
    """A login at a stub server, with what was recorded."""

    def __init__(self, api: StubServer, token: str | None = None, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(guard=LOOPBACK, secrets=[KEY], secret_keys=provider.secret_keys, record=self.exchanges.append)
        checked = validate(FilesComSettings, {"subdomain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, FilesComCredentials(api_key=KEY, verification_token=token), self.http)


@pytest.fixture
def desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api)
    yield desk
    desk.http.close()


def registration(**changes: Any) -> Registration[FilesComConfig]:
    return Registration(**{"callback_url": CALLBACK_URL, "config": CONFIG, "secret": SECRET, "name": "hub", **changes})


def test_register_sends_the_documented_body(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(BEHAVIOR, 201))
    remote = provider.register(desk.session, registration())
    assert (remote.remote_id, remote.enabled, remote.expires_at, remote.url) == ("8123", True, None, CALLBACK_URL)
    assert (remote.config, remote.secret_matches) == (provider.canonical(CONFIG), True)
    (call,) = api.received
    assert (call.method, call.path, call.header("X-FilesAPI-Key")) == ("POST", BEHAVIORS, KEY)
    assert call.header("Authorization") is None
    assert call.json() == {"path": "inbox", "behavior": "webhook", "name": "hub", "recursive": True, "value": VALUE}
    assert SECRET not in repr(desk.exchanges)


def test_register_sends_every_key_that_is_set(api: StubServer) -> None:
    desk = Desk(api, token=TOKEN, value_format="text")
    config = FilesComConfig(
        path="/", recursive=False, filenames=("*.pdf",), exclude_filenames=("x*",), headers={"X-A": "1"},
        body={"k": "v"}, file_as_body=True, use_dedicated_ips=True,
    )  # fmt: skip
    api.say(Scripted.json(BEHAVIOR, 201))
    provider.register(desk.session, registration(config=config, name=""))
    desk.http.close()
    sent = api.received[0].json()
    assert (sent["path"], sent["recursive"], sent["name"]) == ("/", False, "Hookkeeper")
    assert json.loads(sent["value"]) == {
        "urls": [CALLBACK_URL],
        "method": "GET",
        "triggering_filenames": ["*.pdf"],
        "exclude_filenames": ["x*"],
        "headers": {"X-A": "1", "Authorization": SECRET, "X-Hookkeeper-Body": "file"},
        "body": {"k": "v"},
        "file_as_body": True,
        "use_dedicated_ips": True,
        "verification_token": TOKEN,
    }
    assert SECRET not in repr(desk.exchanges)
    assert TOKEN not in repr(desk.exchanges)


def test_without_a_header_to_set_nothing_of_ours_is_sent_or_compared(api: StubServer) -> None:
    desk = Desk(api, expect_header=False)
    shown = {**BEHAVIOR, "value": {**VALUE, "headers": {}}}
    api.say(Scripted.json(shown, 201), Scripted.json([shown]))
    provider.register(desk.session, registration(config=FilesComConfig(path="inbox", file_as_body=True)))
    (listed,) = provider.list_remote(desk.session)
    desk.http.close()
    assert "headers" not in api.received[0].json()["value"]
    assert (listed.secret_matches, listed.shown_secret) == (None, None)


def test_update_keeps_what_is_not_ours_and_sends_the_rest_whole_but_never_the_path(api: StubServer, desk: Desk) -> None:
    theirs = {**VALUE, "verification_token": "theirs-1", "brand_new": [1], "triggering_filenames": ["*.x"]}
    api.say(Scripted.json({**BEHAVIOR, "value": json.dumps(theirs)}), Scripted.json({}), Scripted.json(BEHAVIOR))
    remote = provider.update(desk.session, "8123", registration())
    assert [(call.method, call.path) for call in api.received] == [
        ("GET", f"{BEHAVIORS}/8123"),
        ("PATCH", f"{BEHAVIORS}/8123"),
        ("GET", f"{BEHAVIORS}/8123"),
    ]
    sent = api.received[1].json()
    assert set(sent) == {"name", "recursive", "value"}
    assert (sent["value"]["verification_token"], sent["value"]["brand_new"]) == ("theirs-1", [1])
    assert (sent["value"]["triggering_filenames"], sent["value"]["file_as_body"]) == ([], False)
    assert (remote.config, remote.secret_matches) == (provider.canonical(CONFIG), True)
    assert "theirs-1" not in repr(desk.exchanges)
    assert SECRET not in repr(desk.exchanges)


@pytest.mark.parametrize("shown", ["", None, "****1234"])
def test_a_token_that_is_not_shown_is_not_sent_back(api: StubServer, desk: Desk, shown: str | None) -> None:
    hidden = {**BEHAVIOR, "value": {**VALUE, "verification_token": shown}}
    api.say(Scripted.json(hidden), Scripted.json({}), Scripted.json(hidden))
    provider.update(desk.session, "8123", registration())
    assert "verification_token" not in api.received[1].json()["value"]


def test_delete(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(204))
    provider.delete(desk.session, "8123")
    assert [(call.method, call.path, call.body) for call in api.received] == [("DELETE", f"{BEHAVIORS}/8123", b"")]


@pytest.mark.parametrize("remote_id", ["", "..", "a", "1/..", "\u0661", "-1", "8123.json"])
def test_what_is_no_number_is_not_even_asked_for(api: StubServer, desk: Desk, remote_id: str) -> None:
    for call in (provider.read_remote, provider.delete):
        with pytest.raises(NotFound):
            call(desk.session, remote_id)
    assert api.received == []


def test_the_list_asks_for_webhooks_and_follows_the_cursor(api: StubServer, desk: Desk) -> None:
    api.say(
        Scripted.json(
            [BEHAVIOR, {"id": 3, "behavior": "file_expiration", "value": 30}], 200, {"x-files-cursor-next": "a b"}
        ),
        Scripted.json([{**BEHAVIOR, "id": 8124}]),
    )
    assert [item.remote_id for item in provider.list_remote(desk.session)] == ["8123", "8124"]
    queries = [parse_qs(urlsplit(call.path).query) for call in api.received]
    assert queries[0] == {"filter[behavior]": ["webhook"], "per_page": ["1000"]}
    assert queries[1] == {**queries[0], "cursor": ["a b"]}


def test_a_list_that_does_not_end_is_a_bad_answer(api: StubServer, desk: Desk) -> None:
    api.say(*[Scripted.json([BEHAVIOR], 200, {"X-Files-Cursor-Next": "same"})] * 3)
    with pytest.raises(InvalidResponse, match="does not end"):
        provider.list_remote(desk.session)
    assert len(api.received) == 2


def test_single_folders_are_listed_once_each_by_path(api: StubServer) -> None:
    desk = Desk(api, folders=["/", "a b/c%"])
    api.say(Scripted.json([BEHAVIOR]), Scripted.json([BEHAVIOR]), Scripted.json(error("not-found"), 404))
    assert [item.remote_id for item in provider.list_remote(desk.session)] == ["8123"]
    assert [urlsplit(call.path).path for call in api.received] == [
        f"{BEHAVIORS}/folders/",
        f"{BEHAVIORS}/folders/{quote('a b/c%')}",
    ]
    with pytest.raises(InvalidResponse, match="setting `folders`"):
        provider.list_remote(desk.session)
    desk.http.close()


@pytest.mark.parametrize(
    ("value", "url", "changes"),
    [
        (VALUE, CALLBACK_URL, {}),
        (json.dumps(VALUE), CALLBACK_URL, {}),
        ({**VALUE, "urls": [CALLBACK_URL]}, CALLBACK_URL, {"redundant_urls": []}),
        # Somebody made ours a backup: it is still ours, and it differs from every wish.
        (
            {**VALUE, "urls": ["https://x.test/", CALLBACK_URL]},
            CALLBACK_URL,
            {"redundant_urls": ["https://x.test/", CALLBACK_URL]},
        ),
        ({**VALUE, "urls": "https://x.test/a, https://x.test/b"}, "https://x.test/a", {"redundant_urls": ["https://x.test/b"]}),
        ({**VALUE, "urls": ["https://[broken", "https://x.test/b"]}, "https://[broken", {"redundant_urls": ["https://x.test/b"]}),
        ({**VALUE, "method": "post", "encoding": "raw"}, CALLBACK_URL, {"encoding": ""}),
        ({**VALUE, "encoding": None, "triggers": None}, CALLBACK_URL, {"encoding": "", "triggers": []}),
        ({**VALUE, "headers": {"X-A": 1, "AUTHORIZATION": SECRET}}, CALLBACK_URL, {"headers": {"x-a": "1"}}),
        ({**VALUE, "body": {"b": {"c": 1}}, "file_as_body": "my_file"}, CALLBACK_URL,
         {"body": {"b": '{"c": 1}'}, "file_as_body": True}),
        (["https://x.test/a", "https://x.test/b"], "https://x.test/a",
         {"redundant_urls": ["https://x.test/b"], "method": "GET", "encoding": "", "triggers": []}),
        ('["https://x.test/a"]', "https://x.test/a",
         {"redundant_urls": [], "method": "GET", "encoding": "", "triggers": []}),
    ],
    ids=range(12),
)  # fmt: skip
def test_value_in_every_shape(api: StubServer, desk: Desk, value: object, url: str, changes: dict[str, object]) -> None:
    api.say(Scripted.json({**BEHAVIOR, "value": value}))
    remote = provider.read_remote(desk.session, "8123")
    assert remote.url == url
    assert remote.config == {**provider.canonical(CONFIG), **changes}


@pytest.mark.parametrize("value", [None, 30, "", [], [1], "[1]", '{"urls"', True])
def test_an_unreadable_value_leaves_url_and_config_unknown(api: StubServer, desk: Desk, value: object) -> None:
    api.say(Scripted.json([{**BEHAVIOR, "value": value}]))
    (remote,) = provider.list_remote(desk.session)
    assert (remote.remote_id, remote.url, remote.config, remote.shown_secret) == ("8123", None, None, None)


@pytest.mark.parametrize(
    ("headers", "matches"),
    [
        ({"Authorization": SECRET}, True),
        ({"authorization": f" {SECRET} "}, True),
        ({"Authorization": "Bearer another"}, False),
        ({"Authorization": "Bearer ****"}, None),
        ({"X-Other": "1"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_the_header_is_compared_when_read_and_left_to_compare_when_listed(
    api: StubServer, desk: Desk, headers: object, matches: bool | None
) -> None:
    shown = {**BEHAVIOR, "value": {**VALUE, "headers": headers}}
    api.say(Scripted.json(shown), Scripted.json([shown]))
    assert provider.read_remote(desk.session, "8123", SECRET).secret_matches is matches
    (listed,) = provider.list_remote(desk.session)
    assert listed.secret_matches is None
    assert (None if listed.shown_secret is None else listed.shown_secret == SECRET) is matches
    assert SECRET not in repr(listed)


@pytest.mark.parametrize(
    "answer",
    [{}, "text", [1], [{}], [None], *([{**BEHAVIOR, "id": odd}] for odd in ODD_IDS)],
)
def test_a_list_of_a_wrong_shape_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.list_remote(desk.session)


def test_an_answer_about_another_behavior_is_a_bad_answer_and_another_kind_is_not_found(
    api: StubServer, desk: Desk
) -> None:
    api.say(Scripted.json({**BEHAVIOR, "id": 1}), Scripted.json({**BEHAVIOR, "behavior": "inbox"}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(desk.session, "8123")
    with pytest.raises(NotFound):
        provider.read_remote(desk.session, "8123")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": "x"}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_yes_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, desk: Desk, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(desk.session, registration())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("answer", "facts", "warning"),
    [
        ({"id": 1, "descriptive_label": "Key #1", "key": KEY, "permission_set": "full", "user_id": None},
         {"key_id": 1, "label": "Key #1", "permission_set": "full"}, None),
        ({"name": "mine", "user_id": 7, "permission_set": "sync_app"},
         {"label": "mine", "user_id": 7, "permission_set": "sync_app"}, "sync_app, not full"),
        ({"id": 1, "expires_at": "2020-01-01T01:00:00Z"}, {"key_id": 1, "expires_at": "2020-01-01T01:00:00Z"},
         "ends at 2020-01-01 01:00 UTC"),
        ({"id": 1, "expires_at": "2999-01-01T01:00:00Z"}, {"key_id": 1, "expires_at": "2999-01-01T01:00:00Z"}, None),
        ({"id": 1, "expires_at": "soon"}, {"key_id": 1, "expires_at": "soon"}, None),
    ],
    ids=range(5),
)  # fmt: skip
def test_identity(api: StubServer, desk: Desk, answer: object, facts: dict[str, object], warning: str | None) -> None:
    api.say(Scripted.json(answer))
    identity = provider.identify(desk.session)
    assert identity.facts == facts
    assert (identity.warning is None) if warning is None else (warning in str(identity.warning))
    assert KEY not in repr((identity, desk.exchanges))


@pytest.mark.parametrize("answer", [{}, []])
def test_an_identity_of_nobody_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.identify(desk.session)


def test_the_test_call_sends_our_definition(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(204))
    assert provider.test(desk.session, "8123", registration()).ok
    (call,) = api.received
    assert (call.method, call.path) == ("POST", f"{BEHAVIORS}/webhook/test")
    assert call.json() == {
        "url": CALLBACK_URL,
        "action": "update",
        "method": "POST",
        "encoding": "JSON",
        "headers": {"Authorization": SECRET},
        "body": {"hookkeeper_test": "1"},
    }
    assert SECRET not in repr(desk.exchanges)


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        ({"code": 200, "message": "OK", "status": "OK"}, True, "Files.com sent a test webhook. It says: 200 OK"),
        ({"code": 500, "message": "no"}, False, "Files.com could not deliver a test webhook. It says: 500 no"),
        ({"success": False, "message": "why"}, False, "Files.com could not deliver a test webhook. It says: why"),
        ({"success": True, "code": 200}, True, "Files.com sent a test webhook. It says: 200"),
        ({}, True, "Files.com sent a test webhook."),
    ],
    ids=range(5),
)  # fmt: skip
def test_results_of_the_test_call(api: StubServer, desk: Desk, answer: object, ok: bool, detail: str) -> None:
    api.say(Scripted.json(answer))
    found = provider.test(desk.session, "8123", registration())
    assert (found.ok, found.detail) == (ok, detail)


@pytest.mark.parametrize(
    "missing",
    [Scripted(404), Scripted(405), Scripted.json({"type": "bad-request/method-not-allowed"}, 422)],
    ids=range(3),
)
def test_where_one_test_call_does_not_exist_the_other_is_used(api: StubServer, desk: Desk, missing: Scripted) -> None:
    api.say(missing, Scripted.json({"success": True}, 201), missing, missing)
    assert provider.test(desk.session, "8123", registration()).ok
    assert api.received[1].path == "/api/rest/v1/webhook_tests"
    with pytest.raises(Unsupported):
        provider.test(desk.session, "8123", registration())


# -- Refusals ------------------------------------------------------------------------------------------------------


def error(kind: str, message: str = "why", **keys: object) -> dict[str, object]:
    more = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"error": message, "http-code": 422, "instance": "i-1", "title": "Title", "type": kind, **more}


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("not-found", 404, NotFound),
        ("not-found/file-not-found", 404, NotFound),
        ("not-found/api-key-not-found", 404, AuthenticationFailed),
        ("not-found/site-not-found", 404, InvalidResponse),
        ("not-authenticated/invalid-credentials", 401, AuthenticationFailed),
        ("not-authenticated/locked-out", 401, AuthenticationFailed),
        ("not-authorized/api-key-is-disabled", 403, AuthenticationFailed),
        ("not-authorized/api-key-is-path-restricted", 403, PermissionMissing),
        ("not-authorized/folder-admin-permission-required", 403, PermissionMissing),
        ("not-authorized/something-new", 403, PermissionMissing),
        ("site-configuration/account-overdue", 403, PermissionMissing),
        ("rate-limited/too-many-requests", 429, Throttled),
        ("rate-limited/too-many-concurrent-requests", 422, Throttled),
        ("service-unavailable/migration-in-progress", 422, Unavailable),
        ("processing-failure/folder-locked", 403, Unavailable),
        ("processing-failure/resource-locked", 422, Unavailable),
        ("processing-failure/agent-unavailable", 422, Unavailable),
        ("processing-failure/destination-exists", 422, LimitReached),
        ("processing-failure/destination-parent-does-not-exist", 409, LimitReached),
        ("processing-failure/model-save-error", 422, Refused),
        ("processing-failure", 412, Refused),
        ("bad-request/invalid-cursor", 422, InvalidResponse),
        ("bad-request/method-not-allowed", 422, Unsupported),
        ("bad-request/request-params-invalid", 400, Refused),
        ("a-new-kind/of-error", 422, Refused),
        ("a-new-kind/of-error", 400, Refused),
        ("a-new-kind/of-error", 401, AuthenticationFailed),
        ("a-new-kind/of-error", 403, PermissionMissing),
        ("a-new-kind/of-error", 404, NotFound),
        ("a-new-kind/of-error", 409, LimitReached),
        ("a-new-kind/of-error", 429, Throttled),
        ("a-new-kind/of-error", 500, Unavailable),
        ("a-new-kind/of-error", 503, Unavailable),
        ("bad-request/something-new", 403, PermissionMissing),
        ("bad-request/invalid-path", 404, Refused),
        ("", 401, AuthenticationFailed),
        ("", 403, PermissionMissing),
        ("", 404, NotFound),
        ("", 409, LimitReached),
        ("", 412, Refused),
        ("", 422, Refused),
        ("", 423, Unavailable),
        ("processing-failure/file-locked", 423, Unavailable),
        ("", 429, Throttled),
        ("", 500, Unavailable),
        ("service-unavailable/site-disabled", 503, Unavailable),
    ],
)
def test_the_catalogue(api: StubServer, desk: Desk, kind: str, status: int, expected: type[ProviderError]) -> None:
    api.say(Scripted.json(error(kind), status))
    with pytest.raises(ProviderError) as caught:
        provider.read_remote(desk.session, "8123")
    assert type(caught.value) is expected
    assert caught.value.status == status
    assert "why" in caught.value.message
    assert kind in caught.value.message


@pytest.mark.parametrize(
    ("kind", "headers", "wait"),
    [
        ("rate-limited/too-many-requests", {"Retry-After": "9"}, 9),
        ("rate-limited/too-many-requests", {}, 30),
        ("rate-limited/too-many-requests", {"Retry-After": "soon"}, 30),
        ("rate-limited/too-many-concurrent-requests", {}, 2),
        ("", {}, 30),
    ],
)
def test_throttling(api: StubServer, desk: Desk, kind: str, headers: dict[str, str], wait: float) -> None:
    api.say(Scripted.json(error(kind), 429, headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(desk.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (error("bad-request/invalid-path"), "path"),
        (error("processing-failure/path-too-long", "the body is long"), "path"),
        (error("bad-request", "Invalid triggers"), "triggers"),
        (error("bad-request", model_errors={"triggering_filenames": ["is odd"]}), "filenames"),
        (error("bad-request", model_errors={"value": ["urls is invalid"]}), "callback_url"),
        (error("bad-request", errors=[{"fields": ["exclude_filenames"], "messages": ["no"]}]), "exclude_filenames"),
        (error("bad-request", errors=["encoding is unknown"]), "encoding"),
        (error("bad-request", detail="headers must be a hash"), "headers"),
        (error("bad-request", model_errors={"use_dedicated_ips": "not in your plan"}), "use_dedicated_ips"),
        (error("bad-request"), None),
        ({"errors": ["method is odd"]}, "method"),
    ],
    ids=range(11),
)  # fmt: skip
def test_the_field_that_they_complain_about(
    api: StubServer, desk: Desk, body: dict[str, object], field: str | None
) -> None:
    api.say(Scripted.json(body, 422))
    with pytest.raises(Refused) as caught:
        provider.register(desk.session, registration())
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", b"[]", b"null", b'{"errors": {"a": [[[[[["deep"]]]]]]}}', b'{"type": 7, "error": {}}', b"{" * 9999],
    ids=range(7),
)
def test_unknown_error_bodies_are_survived(api: StubServer, desk: Desk, body: bytes) -> None:
    api.say(Scripted(422, body))
    with pytest.raises(Refused):
        provider.register(desk.session, registration())


def test_without_a_behavior_in_the_path_404_means_a_wrong_address(api: StubServer, desk: Desk) -> None:
    api.say(*[Scripted(404)] * 3)
    for call in (lambda: provider.list_remote(desk.session), lambda: provider.identify(desk.session),
                 lambda: provider.register(desk.session, registration())):  # fmt: skip
        with pytest.raises(InvalidResponse, match="Check the subdomain"):
            call()


@pytest.mark.parametrize("kind", ["not-found/folder-not-found", "not-found", "a-new-kind/of-error"])
def test_what_a_registration_names_and_files_com_lacks_is_the_path(api: StubServer, desk: Desk, kind: str) -> None:
    api.say(Scripted.json(error(kind, "No such folder"), 404))
    with pytest.raises(Refused, match="No such folder") as caught:
        provider.register(desk.session, registration())
    assert (caught.value.field, caught.value.status) == ("path", 404)
    assert kind in caught.value.message
    assert "subdomain" not in caught.value.message


@pytest.mark.parametrize(
    ("kind", "expected", "field"),
    [
        ("not-found/folder-not-found", Refused, "path"),
        ("not-found/behavior-not-found", NotFound, None),
        ("not-found", NotFound, None),
        ("", NotFound, None),
    ],
)
def test_an_update_tells_a_missing_folder_from_a_missing_behavior(
    api: StubServer, desk: Desk, kind: str, expected: type[ProviderError], field: str | None
) -> None:
    api.say(Scripted.json(BEHAVIOR), Scripted.json(error(kind), 404))
    with pytest.raises(ProviderError, match="why") as caught:
        provider.update(desk.session, "8123", registration())
    assert (type(caught.value), caught.value.field) == (expected, field)


def test_a_list_that_files_com_says_it_lacks_keeps_their_words(api: StubServer, desk: Desk) -> None:
    api.say(*[Scripted.json(error("not-found/folder-not-found"), 404)] * 2)
    for call in (provider.list_remote, provider.identify):
        with pytest.raises(InvalidResponse, match="why") as caught:
            call(desk.session)
        assert "subdomain" not in caught.value.message


# -- Settings and config -------------------------------------------------------------------------------------------


def complaints(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {item.field: item.message for item in caught.value.errors}


@pytest.mark.parametrize(
    ("values", "origin"),
    [
        ({"subdomain": " Acme "}, "https://acme.files.com"),
        ({"subdomain": "acme.files.com"}, "https://acme.files.com"),
        ({"subdomain": "acme", "api_host": "app"}, "https://app.files.com"),
        ({"subdomain": "acme", "api_host": "app", "base_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
    ],
)
def test_hosts(values: dict[str, object], origin: str) -> None:
    assert provider.api_origin(validate(FilesComSettings, values)) == origin


@pytest.mark.parametrize("subdomain", ["", "files.com", "files.acme.com", "https://acme.files.com", "a b", "-a", "ä"])
def test_other_hosts_are_refused_at_the_field(subdomain: str) -> None:
    assert list(complaints(FilesComSettings, {"subdomain": subdomain})) == ["subdomain"]


def test_unconfirmed_facts_are_marked_settings() -> None:
    properties = FilesComSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"value_format", "test_call", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_a_setting() -> None:
    limit = provider.rate_limit(
        validate(FilesComSettings, {"subdomain": "a", "calls_per_second": 2, "calls_per_day": 9})
    )
    assert (limit.per_second, limit.per_day) == (2, 9)
    assert provider.rate_limit(validate(FilesComSettings, {"subdomain": "a"})).per_day is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": ""}, "path"),
        ({"path": "a/../b"}, "path"),
        ({"path": "a /b"}, "path"),
        ({"path": "a\nb"}, "path"),
        ({"triggers": ["create", "Up date"]}, "triggers.1"),
        ({"method": "PUT"}, "method"),
        ({"encoding": "CSV"}, "encoding"),
        ({"encoding": "EV1"}, "encoding"),
        ({"method": "GET", "encoding": "EV2"}, "encoding"),
        ({"filenames": ["a/b"]}, "filenames.0"),
        ({"exclude_filenames": [""]}, "exclude_filenames.0"),
        ({"redundant_urls": ["ftp://x.test/"]}, "redundant_urls.0"),
        ({"redundant_urls": ["https://x.test/", "https://x.test/,https://y.test/"]}, "redundant_urls.1"),
        ({"redundant_urls": ["https://x.test:port/"]}, "redundant_urls.0"),
        ({"headers": {"authorization": "x"}}, "headers"),
        ({"headers": {"X-Hookkeeper-Body": "x"}}, "headers"),
        ({"headers": {"X A": "x"}}, "headers"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"body": {"a": 1}}, "body.a"),
        ({"file_form_field": 'a"b'}, "file_form_field"),
        ({"file_form_field": "file", "file_as_body": True}, "file_as_body"),
    ],
)  # fmt: skip
def test_a_wrong_config_is_refused_at_its_place(changes: dict[str, object], field: str) -> None:
    assert list(complaints(FilesComConfig, {"path": "a", **changes})) == [field]


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "tökén"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    told = complaints(FilesComCredentials, {"api_key": key})
    assert list(told) == ["api_key"]
    assert not key or key not in told["api_key"]


@pytest.mark.parametrize(
    ("entered", "kept"),
    [("/a//b/", "a/b"), ("/", "/"), ("a", "a"), ("Ünïcode/b c", "Ünïcode/b c")],
)
def test_paths_are_written_one_way(entered: str, kept: str) -> None:
    assert validate(FilesComConfig, {"path": entered}).path == kept


def test_equal_configs_are_canonically_equal() -> None:
    left = FilesComConfig(
        path="In/Box", triggers=("b", "a"), encoding="RAW", headers={"X-A": "1"}, filenames=("b", "a")
    )
    right = FilesComConfig(path="in/box", triggers=("a", "b"), encoding="", headers={"x-a": "1"}, filenames=("a", "b"))
    assert provider.canonical(left) == provider.canonical(right)
    # The first of several redundant URLs is tried first.
    one, two = ("https://a.test/", "https://b.test/")
    assert provider.canonical(FilesComConfig(path="a", redundant_urls=(one, two))) != provider.canonical(
        FilesComConfig(path="a", redundant_urls=(two, one))
    )


def test_all_documented_actions_are_declared() -> None:
    names = {item.name for item in EVENT_TYPES}
    assert {"create", "read", "update", "destroy", "move", "copy"} <= names
    assert len(names) == 15
