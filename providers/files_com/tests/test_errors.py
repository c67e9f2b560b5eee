"""Files.com: the errors for error responses."""

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
    Unsupported,
)
from providers.files_com import provider
from providers.files_com.tests.samples import (
    BEHAVIOR,
    error_body,
    registration,
)
from providers.files_com.tests.stub_client import StubClient
from tests.harness.stub_server import Scripted, StubServer


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
def test_each_error_type_maps_to_an_error(
    api: StubServer, client: StubClient, kind: str, status: int, expected: type[ProviderError]
) -> None:
    api.say(Scripted.json(error_body(kind), status))
    with pytest.raises(ProviderError) as caught:
        provider.read_remote(client.session, "8123")
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
def test_throttling_without_retry_after_has_a_default_wait(
    api: StubServer, client: StubClient, kind: str, headers: dict[str, str], wait: float
) -> None:
    api.say(Scripted.json(error_body(kind), 429, headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(client.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (error_body("bad-request/invalid-path"), "path"),
        (error_body("processing-failure/path-too-long", "the body is long"), "path"),
        (error_body("bad-request", "Invalid triggers"), "triggers"),
        (error_body("bad-request", model_errors={"triggering_filenames": ["is odd"]}), "filenames"),
        (error_body("bad-request", model_errors={"value": ["urls is invalid"]}), "callback_url"),
        (error_body("bad-request", errors=[{"fields": ["method"], "messages": ["no"]}]), "method"),
        (error_body("bad-request", errors=["encoding is unknown"]), "encoding"),
        (error_body("bad-request", detail="headers must be a hash"), "headers"),
        (error_body("bad-request", model_errors={"use_dedicated_ips": "not in your plan"}), "use_dedicated_ips"),
        (error_body("bad-request"), None),
        ({"errors": ["method is odd"]}, "method"),
    ],
    ids=range(11),
)  # fmt: skip
def test_the_field_is_read_from_the_error_body(
    api: StubServer, client: StubClient, body: dict[str, object], field: str | None
) -> None:
    api.say(Scripted.json(body, 422))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert caught.value.field == field


def test_404_without_a_behavior_in_the_path_means_a_wrong_subdomain(api: StubServer, client: StubClient) -> None:
    api.say(*[Scripted(404)] * 4)
    for call in (lambda: provider.list_remote(client.session), lambda: provider.identify(client.session),
                 lambda: provider.register(client.session, registration())):  # fmt: skip
        with pytest.raises(InvalidResponse, match="Check the subdomain"):
            call()


@pytest.mark.parametrize("kind", ["not-found/folder-not-found", "not-found", "a-new-kind/of-error"])
def test_404_after_a_registration_is_an_error_of_the_path(api: StubServer, client: StubClient, kind: str) -> None:
    api.say(Scripted.json(error_body(kind, "No such folder"), 404))
    with pytest.raises(Refused, match="No such folder") as caught:
        provider.register(client.session, registration())
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
def test_an_update_distinguishes_a_missing_folder_from_a_missing_behavior(
    api: StubServer, client: StubClient, kind: str, expected: type[ProviderError], field: str | None
) -> None:
    api.say(Scripted.json(BEHAVIOR), Scripted.json(error_body(kind), 404))
    with pytest.raises(ProviderError, match="why") as caught:
        provider.update(client.session, "8123", registration())
    assert (type(caught.value), caught.value.field) == (expected, field)


def test_404_with_an_error_body_quotes_its_message(api: StubServer, client: StubClient) -> None:
    api.say(*[Scripted.json(error_body("not-found/folder-not-found"), 404)] * 3)
    for call in (provider.list_remote, provider.identify):  # the second makes two calls
        with pytest.raises(InvalidResponse, match="why") as caught:
            call(client.session)
        assert "subdomain" not in caught.value.message
