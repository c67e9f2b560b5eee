"""Entrust: parsing of responses and errors."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.contract.errors import (
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.entrust import provider
from providers.entrust.tests.samples import (
    ACCESS_TOKEN,
    APPLICATION_ID,
    CANONICAL,
    EXPIRY,
    ID,
    LOGIN_RESPONSE,
    WEBHOOK,
    registration,
)
from providers.entrust.tests.stub_client import StubClient
from tests.harness.stub_server import Scripted, StubServer

# -- Answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"events": []}, {"events": []}),
        ({"events": None}, {"events": []}),
        ({"expiryDate": None}, {**CANONICAL, "expiry_days": 0}),
        (
            {"events": [{"type": " b ", "filter": '{"y": 1, "x": [ 2 ]}'}, {"type": "b", "filter": '{"x":[2],"y":1}'}]},
            {"events": [{"type": "b", "filter": '{"x":[2],"y":1}'}]},
        ),
        (
            {"events": [{"type": "b", "filter": " [odd "}, {"type": "a", "filter": " "}, {"type": "a", "more": 1}]},
            {"events": [{"type": "a", "filter": None}, {"type": "b", "filter": "[odd"}]},
        ),
    ],
)
def test_the_config_that_is_read_is_canonical(
    api: StubServer, client: StubClient, changes: dict[str, object], config: dict[str, object]
) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    assert provider.read_remote(client.session, ID).config == config


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("2099-04-02T03:04:05", EXPIRY),
        ("2099-04-02T03:04:05.000", EXPIRY),
        ("2099-04-02T03:04:05Z", EXPIRY),
        ("2099-04-02T05:04:05+02:00", EXPIRY),
        ("2099-04-02", datetime(2099, 4, 2, tzinfo=UTC)),
    ],
)
def test_an_expiry_without_an_offset_is_utc(
    api: StubServer, client: StubClient, shown: str, expected: datetime
) -> None:
    api.say(Scripted.json([{**WEBHOOK, "expiryDate": shown}]))
    assert provider.list_remote(client.session)[0].expires_at == expected


@pytest.mark.parametrize("expires_at", [None, "2099-04-02T03:04:05", "2020-01-01T00:00:00"])
def test_the_expired_flag_overrides_the_expiry_date(
    api: StubServer, client: StubClient, expires_at: str | None
) -> None:
    for enabled in (True, False):
        api.say(Scripted.json([{**WEBHOOK, "expiryDate": expires_at, "expired": True, "enabled": enabled}]))
        (remote,) = provider.list_remote(client.session)
        assert (remote.status, remote.enabled) == ("expired", False)
        assert remote.expires_at
        assert remote.expires_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 7},
        {"id": ""},
        {"id": ".."},
        {"id": "a\nb"},
        {"enabled": "perhaps"},
        {"enabled": 1},
        {"expired": []},
        {"expiryDate": "soon"},
        {"expiryDate": 4102444800},
        {"expiryDate": "0001-01-01T00:00:00+23:00"},
        {"callbackUrl": 1},
        {"name": {}},
        {"events": "user.created"},
        {"events": ["user.created"]},
        {"events": [{"type": None}]},
        {"events": [{"type": "a", "filter": [1]}]},
    ],
)
def test_a_malformed_webhook_is_an_invalid_response(
    api: StubServer, client: StubClient, changes: dict[str, object]
) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(client.session, ID)
    api.say(Scripted.json([{**WEBHOOK, "id": "odd", **changes}, WEBHOOK]))
    *odd, webhook = provider.list_remote(client.session)
    assert (webhook.remote_id, webhook.partial) == (ID, False)
    assert [(item.remote_id, item.partial) for item in odd] == ([] if "id" in changes else [("odd", True)])


@pytest.mark.parametrize("response", [{}, None, "text", [None], [[]]])
def test_a_malformed_list_is_an_invalid_response(api: StubServer, client: StubClient, response: object) -> None:
    api.say(Scripted.json(response))
    with pytest.raises(InvalidResponse):
        provider.list_remote(client.session)


def test_a_response_about_another_webhook_is_an_invalid_response(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(WEBHOOK))
    with pytest.raises(InvalidResponse, match="another webhook"):
        provider.read_remote(client.session, "another")


# -- Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (403, PermissionMissing, "needs WEBHOOKS:EDIT"),
        (404, NotFound, "why"),
        (409, LimitReached, "20 active"),
        (400, Refused, "why"),
        (429, Throttled, "why"),
        (500, Unavailable, "why"),
    ],
)
def test_each_error_status_maps_to_an_error(
    api: StubServer, client: StubClient, status: int, kind: type[ProviderError], text: str
) -> None:
    api.say(Scripted.json({"errorCode": "x", "errorMessage": "why", "parameters": []}, status))
    with pytest.raises(kind, match=text) as caught:
        provider.update(client.session, ID, registration())
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_404_without_a_webhook_in_the_path_means_a_wrong_host(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(404), Scripted(404))
    for call in (
        lambda: provider.list_remote(client.session),
        lambda: provider.register(client.session, registration()),
    ):
        with pytest.raises(InvalidResponse, match="Check the host name"):
            call()


@pytest.mark.parametrize(
    ("body", "text", "field"),
    [
        ({"errorCode": "bad", "errorMessage": "callbackUrl is no URL"}, "callbackUrl is no URL (bad)", "callback_url"),
        ({"errorMessage": "invalid", "parameters": ["events[3].type"]}, "invalid - events[3].type", "events.3.type"),
        ({"errorMessage": "events.1 is odd"}, "events.1 is odd", "events.1"),
        ({"errorMessage": "a", "parameters": ["x", "expiry"]}, "a - x, expiry", "expiry_days"),
        ({"errorMessage": "No events were given"}, "No events were given", "events"),
        ({"errorMessage": "Bad", "parameters": [{"name": "callbackUrl", "message": "must be https"}]},
         "Bad - callbackUrl: must be https", "callback_url"),
        ({"errorMessage": "Bad", "parameters": [{"name": "x"}, {"message": "events[2].filter is odd"}, {}, 3]},
         "Bad - x, events[2].filter is odd", "events.2.filter"),
        ({"errorMessage": "Bad", "parameters": [{"name": "expiry", "message": "exceeds that of events"}]},
         "expiry: exceeds", "expiry_days"),
        ({"errorMessage": "Bad", "parameters": [{"name": 7, "message": None}]}, "Bad", None),
        ({"errorCode": "only_code", "parameters": "odd"}, "only_code", None),
        ({"errorMessage": 7, "parameters": [1, None, " "]}, "", None),
    ],
)  # fmt: skip
def test_the_message_and_the_field_are_read_from_the_error_body(
    api: StubServer, client: StubClient, body: dict[str, object], text: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert text in caught.value.message
    assert caught.value.field == field


@pytest.mark.parametrize(
    "message", ["The limit of webhooks is reached", "Too many webhooks", "Maximum number of active webhooks exceeded"]
)
def test_a_400_that_mentions_a_limit_is_limit_reached(api: StubServer, client: StubClient, message: str) -> None:
    api.say(Scripted.json({"errorCode": "x", "errorMessage": message}, 400))
    with pytest.raises(LimitReached):
        provider.register(client.session, registration())


def test_secrets_in_an_error_body_are_masked(api: StubServer) -> None:
    client = StubClient(api, token=None)
    api.say(
        Scripted.json(LOGIN_RESPONSE),
        Scripted.json({"errorCode": "x", "errorMessage": f"{ACCESS_TOKEN} of {APPLICATION_ID} is odd"}, 400),
    )
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert "*** of *** is odd" in caught.value.message
    assert ACCESS_TOKEN not in f"{caught.value} {caught.value.message}"
    client.close()
