"""Files.com: the calls that are sent."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    NotFound,
    Unsupported,
)
from providers.files_com import provider
from providers.files_com.schemas import FilesComConfig
from providers.files_com.tests.samples import (
    BEHAVIOR,
    BEHAVIORS,
    CONFIG,
    KEY,
    SECRET,
    TOKEN,
    VALUE,
    error_body,
    registration,
)
from providers.files_com.tests.stub_client import StubClient
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer


def test_register_sends_the_documented_body(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(BEHAVIOR, 201))
    remote = provider.register(client.session, registration())
    assert (remote.remote_id, remote.enabled, remote.expires_at, remote.url) == ("8123", True, None, CALLBACK_URL)
    assert (remote.config, remote.secret_matches) == (provider.canonical(CONFIG), True)
    (call,) = api.received
    assert (call.method, call.path, call.header("X-FilesAPI-Key")) == ("POST", BEHAVIORS, KEY)
    assert call.header("Authorization") is None
    assert call.json() == {"path": "inbox", "behavior": "webhook", "name": "hub", "recursive": True, "value": VALUE}
    assert SECRET not in repr(client.exchanges)


def test_register_sends_every_key_of_the_config(api: StubServer) -> None:
    client = StubClient(api, token=TOKEN, value_format="text")
    config = FilesComConfig(
        path="/", recursive=False, filenames=("*.pdf",), exclude_filenames=("x*",), headers={"X-A": "1"},
        body={"k": "v"}, file_as_body=True, use_dedicated_ips=True,
    )  # fmt: skip
    api.say(Scripted.json(BEHAVIOR, 201))
    provider.register(client.session, registration(config=config, name=""))
    client.http.close()
    sent = api.received[0].json()
    assert (sent["path"], sent["recursive"], sent["name"]) == ("", False, "Hookkeeper")
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
    assert SECRET not in repr(client.exchanges)
    assert TOKEN not in repr(client.exchanges)


def test_no_header_is_sent_or_compared_if_none_is_expected(api: StubServer) -> None:
    client = StubClient(api, expect_header=False)
    shown = {**BEHAVIOR, "value": {**VALUE, "headers": {}}}
    api.say(Scripted.json(shown, 201), Scripted.json([shown]))
    provider.register(client.session, registration(config=FilesComConfig(path="inbox", file_as_body=True)))
    (listed,) = provider.list_remote(client.session)
    client.http.close()
    assert "headers" not in api.received[0].json()["value"]
    assert (listed.secret_matches, listed.shown_secret) == (None, None)


def test_update_keeps_unmanaged_keys_and_sends_all_others_but_not_the_path(api: StubServer, client: StubClient) -> None:
    theirs = {**VALUE, "verification_token": "theirs-1", "brand_new": [1], "triggering_filenames": ["*.x"]}
    api.say(Scripted.json({**BEHAVIOR, "value": json.dumps(theirs)}), Scripted.json({}), Scripted.json(BEHAVIOR))
    remote = provider.update(client.session, "8123", registration())
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
    assert "theirs-1" not in repr(client.exchanges)
    assert SECRET not in repr(client.exchanges)


@pytest.mark.parametrize("shown", ["", None, "****1234"])
def test_a_masked_verification_token_is_not_sent_back(api: StubServer, client: StubClient, shown: str | None) -> None:
    hidden = {**BEHAVIOR, "value": {**VALUE, "verification_token": shown}}
    api.say(Scripted.json(hidden), Scripted.json({}), Scripted.json(hidden))
    provider.update(client.session, "8123", registration())
    assert "verification_token" not in api.received[1].json()["value"]


def test_delete_sends_the_documented_call(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(204))
    provider.delete(client.session, "8123")
    assert [(call.method, call.path, call.body) for call in api.received] == [("DELETE", f"{BEHAVIORS}/8123", b"")]


@pytest.mark.parametrize("remote_id", ["", "..", "a", "1/..", "\u0661", "-1", "8123.json"])
def test_an_id_that_is_not_a_number_is_not_found_without_a_call(
    api: StubServer, client: StubClient, remote_id: str
) -> None:
    for call in (provider.read_remote, provider.delete):
        with pytest.raises(NotFound):
            call(client.session, remote_id)
    assert api.received == []


def test_the_list_call_filters_webhooks_and_follows_the_cursor(api: StubServer, client: StubClient) -> None:
    api.say(
        Scripted.json(
            [BEHAVIOR, {"id": 3, "behavior": "file_expiration", "value": 30}], 200, {"x-files-cursor-next": "a b"}
        ),
        Scripted.json([{**BEHAVIOR, "id": 8124}]),
    )
    assert [item.remote_id for item in provider.list_remote(client.session)] == ["8123", "8124"]
    queries = [parse_qs(urlsplit(call.path).query) for call in api.received]
    assert queries[0] == {"filter[behavior]": ["webhook"], "per_page": ["1000"]}
    assert queries[1] == {**queries[0], "cursor": ["a b"]}


def test_an_endless_list_is_an_invalid_response(api: StubServer, client: StubClient) -> None:
    api.say(*[Scripted.json([BEHAVIOR], 200, {"X-Files-Cursor-Next": "same"})] * 3)
    with pytest.raises(InvalidResponse, match="does not end"):
        provider.list_remote(client.session)
    assert len(api.received) == 2


def test_each_folder_of_the_settings_is_listed(api: StubServer) -> None:
    client = StubClient(api, folders=["/", "a b/c%"])
    api.say(Scripted.json([BEHAVIOR]), Scripted.json([BEHAVIOR]), Scripted.json(error_body("not-found"), 404))
    assert [item.remote_id for item in provider.list_remote(client.session)] == ["8123"]
    assert [urlsplit(call.path).path for call in api.received] == [
        f"{BEHAVIORS}/folders/",
        f"{BEHAVIORS}/folders/a%20b%2Fc%25",
    ]
    with pytest.raises(InvalidResponse, match="setting `folders`"):
        provider.list_remote(client.session)
    client.http.close()


@pytest.mark.parametrize(
    ("folder", "segment"),
    [
        ("/", ""),
        ("/Inbox/Sub A/", "Inbox%2FSub%20A"),
        ("a/\u00c4/c+d", "a%2F%C3%84%2Fc%2Bd"),
        ("50%/a?b#c", "50%25%2Fa%3Fb%23c"),
    ],
)
def test_a_path_is_one_segment_without_slashes_at_its_ends(api: StubServer, folder: str, segment: str) -> None:
    client = StubClient(api, folders=[folder])
    api.say(Scripted.json([]), Scripted.json(BEHAVIOR, 201))
    provider.list_remote(client.session)
    provider.register(client.session, registration(config=FilesComConfig(path=folder)))
    client.http.close()
    assert urlsplit(api.received[0].path).path == f"{BEHAVIORS}/folders/{segment}"
    assert api.received[1].json()["path"] == folder.strip("/")


@pytest.mark.parametrize(
    "missing",
    [Scripted(404), Scripted(405), Scripted.json(error_body("not-found"), 404),
     Scripted.json(error_body("bad-request/method-not-allowed"), 422)],
    ids=range(4),
)  # fmt: skip
def test_the_check_lists_webhooks_if_the_key_cannot_be_described(
    api: StubServer, client: StubClient, missing: Scripted
) -> None:
    api.say(missing, Scripted.json([BEHAVIOR]))
    assert provider.identify(client.session).facts == {}
    assert [urlsplit(call.path).path for call in api.received] == ["/api/rest/v1/api_key", BEHAVIORS]


def test_a_refused_key_is_not_checked_twice(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(error_body("not-found/api-key-not-found"), 404))
    with pytest.raises(AuthenticationFailed):
        provider.identify(client.session)


def test_the_test_call_sends_our_definition(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(204))
    assert provider.test(client.session, "8123", registration()).ok
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
    assert SECRET not in repr(client.exchanges)


@pytest.mark.parametrize(
    "missing",
    [Scripted(404), Scripted(405), Scripted.json({"type": "bad-request/method-not-allowed"}, 422)],
    ids=range(3),
)
def test_the_other_test_call_is_used_if_the_first_does_not_exist(
    api: StubServer, client: StubClient, missing: Scripted
) -> None:
    api.say(missing, Scripted.json({"success": True}, 201), missing, missing)
    assert provider.test(client.session, "8123", registration()).ok
    assert api.received[1].path == "/api/rest/v1/webhook_tests"
    with pytest.raises(Unsupported):
        provider.test(client.session, "8123", registration())
