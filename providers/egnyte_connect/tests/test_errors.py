"""Error responses of Egnyte Connect."""

from __future__ import annotations

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.egnyte_connect import provider
from providers.egnyte_connect.tests.samples import ID, StubClient, registration
from tests.harness.stub_server import Scripted, StubServer

QPS = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}
RATE = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_RATE"}
USED_UP = {"X-Accesstoken-Quota-Allotted": "1000", "X-Accesstoken-Quota-Current": "1000"}


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (403, {**QPS, "Retry-After": "1"}, 1),
        (403, QPS, 2),
        (403, {**RATE, "Retry-After": "5000"}, 5000),
        (403, RATE, 3600),
        (403, {**QPS, "Retry-After": "soon"}, 2),
        (429, {"Retry-After": "9"}, 9),
        (429, {}, 30),
        (429, USED_UP, 3600),
        (429, {**USED_UP, "X-Accesstoken-Quota-Current": "many"}, 30),
    ],
)
def test_throttling_reports_the_wait(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], wait: float
) -> None:
    api.say(Scripted(status, b"<h1>Developer Over Limit</h1>", headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(client.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "excerpt"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "Egnyte.webhooks"),
        (403, {}, PermissionMissing, "administrators"),
        (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_INACTIVE"}, PermissionMissing, "why"),
        (409, {}, LimitReached, "two accounts here may share it"),
        (400, {}, Refused, "why"),
        (422, {}, Refused, "why"),
        (404, {}, NotFound, "why"),
        (500, {}, Unavailable, "why"),
        (503, {"Retry-After": "3"}, Throttled, "why"),
        (302, {"Location": "https://login.example.test/"}, InvalidResponse, "redirect"),
    ],
)
def test_each_status_raises_its_error(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], kind: type[ProviderError], excerpt: str
) -> None:
    api.say(Scripted.json({"message": "why"}, status, headers))
    with pytest.raises(kind, match=excerpt) as caught:
        provider.read_remote(client.session, ID)
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_404_without_a_webhook_in_the_path_means_a_wrong_address(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(404), Scripted(404), Scripted(404))
    for call in (lambda: provider.list_remote(client.session), lambda: provider.identify(client.session)):
        with pytest.raises(InvalidResponse, match="Check the domain"):
            call()


@pytest.mark.parametrize(
    ("body", "excerpt", "field"),
    [
        ({"code": "BAD", "message": "Bad url", "details": "no https"}, "Bad url - no https (BAD)", "callback_url"),
        ({"message": "nope"}, "nope", None),
        ({"errorMessage": "eventType is empty"}, "eventType is empty", "event_types"),
        ({"Errors": [{"description": "one", "code": "E1"}, {"description": "two"}]}, "one (E1); two", None),
        ({"errors": ["path is too long", {"message": "more"}]}, "path is too long; more", "paths"),
        ({"errors": [{"field": "path[3]", "message": "forbidden"}]}, "forbidden", "paths.3"),
        ({"formErrors": [{"code": "X", "msg": "form"}]}, "form (X)", None),
        ({"inputErrors": {"eventType[1]": [{"code": "ENUM", "msg": "unknown"}]}}, "unknown (ENUM)", "event_types.1"),
        ({"inputErrors": {"authHeader": ["too long"]}}, "too long", "secret"),
        ({"inputErrors": {"url": {"msg": "https only"}}, "message": "Invalid"}, "Invalid; https only", "callback_url"),
        ({"code": "ONLY_CODE"}, "ONLY_CODE", None),
    ],
)
def test_every_form_of_error_body_is_read(
    api: StubServer, client: StubClient, body: dict[str, object], excerpt: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert f": {excerpt})" in caught.value.message
    assert caught.value.field == field
