"""Files.com: parsing of responses."""

from __future__ import annotations

import json

import pytest

from providers.contract.errors import (
    InvalidResponse,
    NotFound,
)
from providers.files_com import provider
from providers.files_com.tests.samples import (
    BEHAVIOR,
    CONFIG,
    KEY,
    SECRET,
    VALUE,
    registration,
)
from providers.files_com.tests.stub_client import StubClient
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer

INVALID_IDS: tuple[object, ...] = ("7", None, True, -1, 1.5, [], 2**63, 10**400)


@pytest.mark.parametrize(
    ("value", "url", "changes"),
    [
        (VALUE, CALLBACK_URL, {}),
        (json.dumps(VALUE), CALLBACK_URL, {}),
        ({**VALUE, "urls": [CALLBACK_URL]}, CALLBACK_URL, {"redundant_urls": []}),
        # Someone moved the callback URL to the redundant ones: it is still ours, and the drift is visible.
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
    ],
    ids=range(10),
)  # fmt: skip
def test_value_is_read_in_every_format(
    api: StubServer, client: StubClient, value: object, url: str, changes: dict[str, object]
) -> None:
    api.say(Scripted.json({**BEHAVIOR, "value": value}))
    remote = provider.read_remote(client.session, "8123")
    assert remote.url == url
    assert remote.config == {**provider.canonical(CONFIG), **changes}


@pytest.mark.parametrize(
    ("value", "redundant"),
    [(["https://x.test/a", "https://x.test/b"], ["https://x.test/b"]), ('["https://x.test/a"]', [])],
)
def test_the_older_list_of_urls_shows_nothing_else(
    api: StubServer, client: StubClient, value: object, redundant: list[str]
) -> None:
    older = {name: item for name, item in BEHAVIOR.items() if name != "recursive"}
    api.say(Scripted.json({**older, "value": value}))
    remote = provider.read_remote(client.session, "8123", SECRET)
    assert (remote.url, remote.secret_matches) == ("https://x.test/a", None)
    assert remote.config == {"path": "inbox", "redundant_urls": redundant}


@pytest.mark.parametrize("value", [None, 30, "", [], [1], "[1]", '{"urls"', True])
def test_an_unreadable_value_leaves_url_and_config_unknown(api: StubServer, client: StubClient, value: object) -> None:
    api.say(Scripted.json([{**BEHAVIOR, "value": value}]))
    (remote,) = provider.list_remote(client.session)
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
def test_the_header_is_compared_by_read_and_returned_by_list(
    api: StubServer, client: StubClient, headers: object, matches: bool | None
) -> None:
    shown = {**BEHAVIOR, "value": {**VALUE, "headers": headers}}
    api.say(Scripted.json(shown), Scripted.json([shown]))
    assert provider.read_remote(client.session, "8123", SECRET).secret_matches is matches
    (listed,) = provider.list_remote(client.session)
    assert listed.secret_matches is None
    assert (None if listed.shown_secret is None else listed.shown_secret == SECRET) is matches
    assert SECRET not in repr(listed)


@pytest.mark.parametrize(
    "response",
    [{}, "text", [1], [{}], [None], *([{**BEHAVIOR, "id": odd}] for odd in INVALID_IDS)],
)
def test_a_malformed_list_is_an_invalid_response(api: StubServer, client: StubClient, response: object) -> None:
    api.say(Scripted.json(response))
    with pytest.raises(InvalidResponse):
        provider.list_remote(client.session)


def test_another_behavior_is_an_invalid_response_and_another_kind_is_not_found(
    api: StubServer, client: StubClient
) -> None:
    api.say(Scripted.json({**BEHAVIOR, "id": 1}), Scripted.json({**BEHAVIOR, "behavior": "inbox"}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(client.session, "8123")
    with pytest.raises(NotFound):
        provider.read_remote(client.session, "8123")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": "x"}', b"[" * 100_000], ids=range(5))
def test_a_malformed_success_response_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("response", "facts", "warning"),
    [
        ({"id": 1, "descriptive_label": "Key #1", "key": KEY, "permission_set": "full", "user_id": None},
         {"key_id": 1, "label": "Key #1", "permission_set": "full"}, None),
        ({"name": "mine", "user_id": 7, "permission_set": "sync_app"},
         {"label": "mine", "user_id": 7, "permission_set": "sync_app"}, "sync_app, not full"),
        ({"id": 1, "expires_at": "2020-01-01T01:00:00Z"}, {"key_id": 1, "expires_at": "2020-01-01T01:00:00Z"},
         "expires at 2020-01-01 01:00 UTC"),
        ({"id": 1, "expires_at": "2999-01-01T01:00:00Z"}, {"key_id": 1, "expires_at": "2999-01-01T01:00:00Z"}, None),
        ({"id": 1, "expires_at": "soon"}, {"key_id": 1, "expires_at": "soon"}, None),
    ],
    ids=range(5),
)  # fmt: skip
def test_the_identity_is_read_from_the_api_key(
    api: StubServer, client: StubClient, response: object, facts: dict[str, object], warning: str | None
) -> None:
    api.say(Scripted.json(response))
    identity = provider.identify(client.session)
    assert identity.facts == facts
    assert (identity.warning is None) if warning is None else (warning in str(identity.warning))
    assert KEY not in repr((identity, client.exchanges))


@pytest.mark.parametrize("response", [{}, []])
def test_an_api_key_without_id_and_label_is_an_invalid_response(
    api: StubServer, client: StubClient, response: object
) -> None:
    api.say(Scripted.json(response))
    with pytest.raises(InvalidResponse):
        provider.identify(client.session)


@pytest.mark.parametrize(
    ("response", "ok", "detail"),
    [
        ({"code": 200, "message": "OK", "status": "OK"}, True, "Files.com sent a test webhook. Its message: 200 OK"),
        ({"code": 500, "message": "no"}, False, "Files.com could not deliver a test webhook. Its message: 500 no"),
        ({"success": False, "message": "why"}, False, "Files.com could not deliver a test webhook. Its message: why"),
        ({"success": True, "code": 200}, True, "Files.com sent a test webhook. Its message: 200"),
        ({}, True, "Files.com sent a test webhook."),
    ],
    ids=range(5),
)  # fmt: skip
def test_the_result_of_a_test_call_is_read(
    api: StubServer, client: StubClient, response: object, ok: bool, detail: str
) -> None:
    api.say(Scripted.json(response))
    result = provider.test(client.session, "8123", registration())
    assert (result.ok, result.detail) == (ok, detail)
