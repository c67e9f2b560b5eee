"""The identity behind the credentials of Egnyte MSP."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    PermissionMissing,
    ProviderError,
    Throttled,
    Unavailable,
)
from providers.egnyte_msp import provider
from providers.egnyte_msp.tests.samples import SUMMARY, StubClient, registration
from tests.harness.stub_server import Scripted, StubServer


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ({"username": "alee", "scopes": ["a", 1]}, {"username": "alee", "scopes": ["a"]}),
        ({"domain": "acme", "clientId": "c", "scopes": []}, {"clientId": "c", "domain": "acme"}),
        ({"clientId": "c", "username": 7, "scopes": "text"}, {"clientId": "c"}),
    ],
)
def test_identity_is_read_from_whoami(
    api: StubServer, client: StubClient, answer: object, facts: dict[str, object]
) -> None:
    api.say(Scripted.json(answer))
    identity = provider.identify(client.session)
    assert (identity.facts, identity.warning) == (facts, None)
    assert api.received[0].path == "/pubapi/v1/whoami"


@pytest.mark.parametrize("answer", [{}, [], {"scopes": ["a"]}])
def test_whoami_without_an_owner_is_an_invalid_response(api: StubServer, client: StubClient, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.identify(client.session)


@pytest.mark.parametrize("status", [403, 404])
def test_without_whoami_the_list_is_called(api: StubServer, client: StubClient, status: int) -> None:
    api.say(Scripted(status), Scripted.json([SUMMARY]))
    assert provider.identify(client.session).facts["webhooks"] == 1
    assert [call.path for call in api.received] == ["/pubapi/v1/whoami", "/pubapi/v1/msp/webhooks"]


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, AuthenticationFailed),
        (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}, Throttled),
        (500, {}, Unavailable),
    ],
)
def test_other_whoami_errors_are_raised(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], kind: type[ProviderError]
) -> None:
    api.say(Scripted(status, b"", headers), Scripted.json([]))
    with pytest.raises(kind):
        provider.identify(client.session)
    assert len(api.received) == 1


def test_a_token_without_whoami_and_list_is_refused(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(403), Scripted(403))
    with pytest.raises(PermissionMissing, match="approved MSP partners"):
        provider.identify(client.session)


def test_404_without_a_webhook_in_the_path_means_a_wrong_address(api: StubServer, client: StubClient) -> None:
    api.say(*[Scripted(404)] * 4)
    calls: list[Callable[[], object]] = [
        lambda: provider.list_remote(client.session),
        lambda: provider.register(client.session, registration()),
        lambda: provider.identify(client.session),
    ]
    for call in calls:
        with pytest.raises(InvalidResponse, match="NFR domain of an approved MSP partner"):
            call()
