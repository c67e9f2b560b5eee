"""SideDrawer: the calls that are sent, and the developer login."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    ProviderError,
    Throttled,
    Unavailable,
)
from providers.contract.schemas import validate
from providers.sidedrawer import provider
from providers.sidedrawer.auth import GATEWAYS, TOKEN_NAME, login_url
from providers.sidedrawer.schemas import SideDrawerConfig, SideDrawerSettings
from providers.sidedrawer.tests.samples import (
    CANONICAL,
    DRAWER,
    ENTERED_TOKEN,
    ID,
    SECRET,
    TENANT,
    WEBHOOK,
    registration,
)
from providers.sidedrawer.tests.stub_client import StubClient
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer


def test_register_sends_the_published_fields(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(WEBHOOK, 201))
    remote = provider.register(client.session, registration())
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "registered", True)
    assert remote.expires_at == datetime(2030, 1, 1, 3, tzinfo=UTC)
    assert (remote.url, remote.config, remote.secret_matches) == (CALLBACK_URL, CANONICAL, True)
    call = api.received[0]
    assert (call.method, call.path) == ("POST", "/api/v1/webhooks")
    assert call.header("Authorization") == f"Bearer {ENTERED_TOKEN}"
    sent = call.json()
    requested = datetime.fromisoformat(sent.pop("expirationDateTime"))
    assert requested.tzinfo is not None
    assert abs(requested - datetime.now(UTC) - timedelta(days=30)) < timedelta(seconds=10)
    assert sent == {
        "modificationType": "create",
        "connectionType": "HTTP",
        "notificationUrl": CALLBACK_URL,
        "resource": f"{DRAWER}/record",
        "brandCode": "mybrand",
        "integrityKey": SECRET,
        "maxRetries": 3,
    }
    assert SECRET not in repr(client.exchanges)


def test_register_sends_a_capitalised_modification_and_socket_fields(api: StubServer) -> None:
    client = StubClient(api, modification_type_case="capitalised")
    api.say(Scripted.json(WEBHOOK, 201))
    config = {**CANONICAL, "connection_type": "SOCKET", "notification_messages": "changed", "lifetime_days": 1}
    provider.register(client.session, registration(config=validate(SideDrawerConfig, config)))
    client.http.close()
    sent = api.received[0].json()
    assert (sent["modificationType"], sent["connectionType"]) == ("Create", "SOCKET")
    assert (sent["notificationMessages"], sent["notificationUrl"]) == ("changed", CALLBACK_URL)
    requested = datetime.fromisoformat(sent["expirationDateTime"])
    assert abs(requested - datetime.now(UTC) - timedelta(days=1)) < timedelta(seconds=10)


def test_update_sends_all_fields_and_reads_the_webhook_back(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({"data": WEBHOOK}))
    remote = provider.update(client.session, ID, registration())
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"/api/v1/webhooks/{ID}"),
        ("GET", f"/api/v1/webhooks/{ID}"),
    ]
    assert set(api.received[0].json()) == set(WEBHOOK) - {"id", "notificationMessages"}
    assert (remote.config, remote.url) == (CANONICAL, CALLBACK_URL)


def test_an_id_is_escaped_in_the_path(api: StubServer, client: StubClient) -> None:
    provider.delete(client.session, "a/../b?c#d")
    assert api.received[0].path == "/api/v1/webhooks/a%2F..%2Fb%3Fc%23d"


def test_an_id_may_be_a_number(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json([{**WEBHOOK, "id": 17}]))
    assert provider.list_remote(client.session)[0].remote_id == "17"


def test_the_token_is_not_sent_to_another_host(api: StubServer, client: StubClient) -> None:
    elsewhere = "https://elsewhere.example.test/api/v1/webhooks?startingAfter=1"
    api.say(Scripted.json({"data": [WEBHOOK], "hasMore": True, "nextPage": elsewhere}), Scripted.json([]))
    assert len(provider.list_remote(client.session)) == 1
    assert [call.path for call in api.received] == ["/api/v1/webhooks", "/api/v1/webhooks?startingAfter=1"]


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_an_endless_list_is_an_invalid_response(api: StubServer, client: StubClient, same: bool) -> None:
    pages = [{"data": [], "hasMore": True, "nextPage": 1 if same else number} for number in range(120)]
    api.say(*(Scripted.json(page) for page in pages))
    with pytest.raises(InvalidResponse, match="does not end"):
        provider.list_remote(client.session)
    assert len(api.received) == (2 if same else 100)


# -- Logging in ----------------------------------------------------------------------------------------------------

ISSUED = Scripted.json({"access_token": "issued-1", "expires_in": 3600}, 201)
LOGIN_PATH = f"/api/v1/developers/tenant/tenant-id/{TENANT}/applications/client-id/app%2F1/developer-login"


def test_the_developer_login_sends_the_client_secret_and_caches_the_token(
    api: StubServer, login_client: StubClient
) -> None:
    api.say(ISSUED, Scripted.json([]), Scripted.json([]))
    provider.list_remote(login_client.session)
    provider.list_remote(login_client.session)
    first, second, third = api.received
    assert (first.method, first.path, first.json()) == ("POST", LOGIN_PATH, {"clientSecret": "client-s3cret"})
    assert first.header("Authorization") is None
    assert {second.header("Authorization"), third.header("Authorization")} == {"Bearer issued-1"}
    recorded = repr(login_client.exchanges)
    assert "issued-1" not in recorded
    assert "client-s3cret" not in recorded


def test_a_refused_cached_token_is_replaced_and_the_call_repeated(api: StubServer, login_client: StubClient) -> None:
    login_client.session.tokens.put(TOKEN_NAME, "stale-token", datetime.now(UTC) + timedelta(hours=1))
    api.say(Scripted(401), ISSUED, Scripted.json([]))
    provider.list_remote(login_client.session)
    assert [call.path for call in api.received] == ["/api/v1/webhooks", LOGIN_PATH, "/api/v1/webhooks"]
    assert "stale-token" not in repr(login_client.exchanges)


def test_a_refused_new_token_is_an_authentication_failure(api: StubServer, login_client: StubClient) -> None:
    login_client.session.tokens.put(TOKEN_NAME, "stale-token", datetime.now(UTC) + timedelta(hours=1))
    api.say(Scripted(401), ISSUED, Scripted(401))
    with pytest.raises(AuthenticationFailed):
        provider.list_remote(login_client.session)
    assert len(api.received) == 3


def test_a_refused_entered_token_is_not_retried(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(401))
    with pytest.raises(AuthenticationFailed):
        provider.list_remote(client.session)
    assert len(api.received) == 1


@pytest.mark.parametrize(
    ("life", "seconds"),
    [(3600, 3540), ("100", 90), (None, 270), ("soon", 270), (-5, 0), (1e12, 30 * 86400 - 60)],
)
def test_a_token_is_cached_until_shortly_before_it_expires(
    api: StubServer, login_client: StubClient, life: object, seconds: float
) -> None:
    cached: list[datetime] = []

    class Store:
        def get(self, name: str) -> str | None:
            return None

        def put(self, name: str, value: str, expires_at: datetime) -> None:
            cached.append(expires_at)

        def forget(self, name: str) -> None:
            raise AssertionError("nothing was cached")

    api.say(Scripted.json({"data": {"accessToken": "issued-2", "expiresIn": life}}), Scripted.json([]))
    provider.list_remote(replace(login_client.session, tokens=Store()))
    assert abs((cached[0] - datetime.now(UTC)).total_seconds() - seconds) < 5


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (Scripted(401), AuthenticationFailed, "client ID and client secret"),
        (Scripted(403), AuthenticationFailed, "client ID and client secret"),
        (Scripted(404), InvalidResponse, "login_url"),
        (Scripted(500), Unavailable, "has a problem"),
        (Scripted(429, b"", {"Retry-After": "9"}), Throttled, "Too many"),
        (Scripted.json({}), InvalidResponse, "access_token"),
        (Scripted.json({"access_token": "a b\n"}), InvalidResponse, "access_token"),
        (Scripted.json([]), InvalidResponse, "not an object"),
    ],
)
def test_a_failed_login_is_explained(
    api: StubServer, login_client: StubClient, response: Scripted, kind: type[ProviderError], text: str
) -> None:
    api.say(response)
    with pytest.raises(kind, match=text) as caught:
        provider.list_remote(login_client.session)
    assert type(caught.value) is kind
    assert len(api.received) == 1


def test_the_login_host_depends_on_the_settings() -> None:
    def host(**settings: object) -> str:
        return login_url(validate(SideDrawerSettings, {"tenant_id": "t", **settings}), "c").partition("/api")[0]

    assert host() == GATEWAYS["production"]
    assert host(environment="sandbox") == "https://tenants-gateway-api-sbx.sidedrawersbx.com"
    assert host(base_url="http://127.0.0.1:1") == "http://127.0.0.1:1"
    assert host(base_url="http://127.0.0.1:1", login_url="https://login.example.test") == "https://login.example.test"
