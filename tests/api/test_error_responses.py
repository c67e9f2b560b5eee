"""Every error below /api/ is a problem with a request ID, never a page or a redirect."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings
from rest_framework.exceptions import Throttled

from providers import api as providers_api
from tests.api.conftest import PROBLEM, Api

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path",
    [
        "/accounts",
        "/nothing/",
        "/",
        "",
        "/accounts/not-an-id/",
        "/accounts//",
        "/providers/no%20slug/",
        "/accounts/%00/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_an_unknown_path_is_a_404_without_redirect(api: Api, path: str, method: str) -> None:
    response = api.call(method, path)
    assert (response.status, response.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v2/accounts/", "/api/docs", "/api/schema"])
def test_unknown_paths_beside_v1(path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == PROBLEM


def test_a_path_that_only_starts_like_the_api_is_not_an_api_error() -> None:
    assert Client().get("/apiary").headers["Content-Type"].startswith("text/html")


def test_each_response_has_a_new_request_id(api: Api) -> None:
    first, second = (api.get("/nothing/").json["request_id"] for _ in range(2))
    assert first != second


def test_a_client_may_send_its_own_request_id(api: Api) -> None:
    assert api.get("/nothing/", **{"X-Request-ID": "job-7.1_a"}).json["request_id"] == "job-7.1_a"
    assert api.get("/providers/", **{"X-Request-ID": "job-7"}).headers["X-Request-ID"] == "job-7"


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", 'a"b'])
def test_an_invalid_request_id_is_replaced(api: Api, given: str) -> None:
    assert api.get("/nothing/", **{"X-Request-ID": given}).json["request_id"] != given


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff",
        b'{"a": NaN}',
        b'{"name": "\xed\xa0\x80"}',
        b"[" * 100_000,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"1" * 5000,
    ],
)
def test_malformed_json_is_400(api: Api, body: bytes) -> None:
    raw = api.client.post(
        "/api/v1/accounts/", body, content_type="application/json", headers={"Authorization": f"Bearer {api.token}"}
    )
    assert (raw.status_code, raw.headers["Content-Type"]) == (400, PROBLEM)
    assert raw.json()["code"] in ("malformed", "invalid")  # an empty body is one without fields


@pytest.mark.parametrize("body", [[], "text", 7, True])
def test_a_json_body_other_than_an_object_is_400(api: Api, body: object) -> None:
    response = api.post("/accounts/", body)
    assert (response.status, response.json["errors"][0]["field"]) == (400, "")


def test_a_null_body_is_400(api: Api) -> None:
    raw = api.client.post(
        "/api/v1/accounts/", b"null", content_type="application/json", headers={"Authorization": f"Bearer {api.token}"}
    )
    assert raw.status_code == 400


def test_a_body_that_is_too_large_is_413(api: Api, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = api.post("/accounts/", {"name": "x" * 200})
    assert (response.status, response.json["code"]) == (413, "too_large")


def test_another_content_type_is_415(api: Api) -> None:
    raw = api.client.post(
        "/api/v1/accounts/", "a=b", content_type="text/plain", headers={"Authorization": f"Bearer {api.token}"}
    )
    assert (raw.status_code, raw.headers["Content-Type"]) == (415, PROBLEM)


def test_a_chunked_body_is_411(api: Api) -> None:
    response = api.post("/accounts/", **{"Transfer-Encoding": "chunked"})
    assert (response.status, response.json["code"]) == (411, "length_required")


def test_head_is_a_get_without_a_body(api: Api) -> None:
    response = api.call("HEAD", "/accounts/")
    assert (response.status, response.json) == (200, None)


def test_another_accept_is_406(api: Api) -> None:
    assert api.get("/accounts/", Accept="text/html").status == 406
    assert api.get("/accounts/", Accept="text/html, */*;q=0.1").status == 200


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "POST"])
def test_an_unsupported_method_is_405(api: Api, method: str) -> None:
    response = api.call(method, "/providers/")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_an_unhandled_error_is_a_500_problem_without_details(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("the secret plans")

    monkeypatch.setattr(providers_api, "provider_json", fail)
    with caplog.at_level(logging.ERROR):
        response = api.get("/providers/", **{"X-Request-ID": "find-me"})
    assert (response.status, response.json["code"]) == (500, "error")
    assert "plans" not in json.dumps(response.json)
    assert "find-me" in caplog.text
    assert "the secret plans" in caplog.text


def test_429_has_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise Throttled(wait=7.2)

    monkeypatch.setattr(providers_api, "provider_json", fail)
    response = api.get("/providers/")
    assert (response.status, response.json["code"], response.headers["Retry-After"]) == (429, "throttled", "8")


def test_an_unknown_host_is_a_400_problem(api: Api) -> None:
    assert api.get("/providers/", Host="evil.example").status == 400


def test_plain_http_is_refused_instead_of_redirected_if_https_is_required(api: Api, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = Api(api.token, Client(raise_request_exception=False)).get("/providers/")
    assert (response.status, response.json["code"]) == (403, "https_required")


def test_responses_are_not_cached(api: Api) -> None:
    assert api.get("/accounts/").headers["Cache-Control"] == "no-store"
