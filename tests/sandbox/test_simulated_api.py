"""The simulated Egnyte Connect API."""

from __future__ import annotations

import time

import pytest

from providers.egnyte_connect.simulator import EgnyteConnectSimulator
from tests.sandbox.client import SECRET, SLUG, Client


def test_whoami_returns_client_user_domain_and_scopes(client: Client, demo: Client) -> None:
    response = client.call("GET", "/whoami").json()
    assert set(response) == {"clientId", "username", "domain", "scopes"}
    assert response["domain"] == "acme"
    assert "Egnyte.webhooks" in response["scopes"]
    assert demo.call("GET", "/whoami").json()["domain"] == "globex"
    client.control("options", scopes=["Egnyte.filesystem"])
    assert client.call("GET", "/whoami").json()["scopes"] == ["Egnyte.filesystem"]


def test_the_token_selects_the_provider_of_a_shared_path(client: Client) -> None:
    for slug in (SLUG, "egnyte-msp"):
        for facts in client.sandbox.logins(slug):
            response = client.call("GET", "/whoami", token=facts["credentials"]["access_token"])
            assert response.json()["domain"] == facts["settings"]["domain"]
            calls = client.raw("GET", f"{slug}/state?login={facts['login']}").json()["calls"]
            assert [call["path"] for call in calls] == ["/pubapi/v1/whoami"]
    assert client.call("GET", "/webhooks", token=facts["credentials"]["access_token"]).status_code == 401


def test_an_unknown_token_is_401(client: Client) -> None:
    response = client.call("GET", "/webhooks", token="wrong")
    assert response.status_code == 401
    assert set(response.json()) == {"code", "message", "details"}
    assert client.session.get(f"{client.sandbox.url}/pubapi/v1/whoami", timeout=10).status_code == 401


def test_register_read_update_and_delete_a_webhook(client: Client) -> None:
    config = {
        "url": "https://hooks.example.test/a",
        "eventType": ["fs:add_file", "link:*"],
        "path": "/Shared/A, /Shared/B",
    }
    response = client.call("POST", "/webhooks", {**config, "authHeader": SECRET})
    assert response.status_code == 201
    created = response.json()
    assert set(created) == {"webhookId", "expires", "status"}
    assert 85 < created["expires"] - time.time() <= 90
    remote_id = created["webhookId"]
    assert client.call("GET", "/webhooks").json() == [created]
    assert client.call("GET", f"/webhooks/{remote_id}/status").json() == created
    assert client.details(remote_id) == {**created, **config, "authHeader": SECRET}

    disabled = client.call("POST", f"/webhooks/{remote_id}/status", {"status": "disabled"})
    assert disabled.json() == {**created, "status": "disabled"}
    assert client.call("PUT", f"/webhooks/{remote_id}", {"url": "https://hooks.example.test/b"}).status_code == 200
    details = client.details(remote_id)
    shown = {name for name, value in details.items() if value is not None}
    assert shown == {"webhookId", "expires", "status", "url"}  # the update removed all other fields
    assert details["status"] == "disabled"
    update = {"url": "https://hooks.example.test/b", "status": "enabled"}
    assert client.call("PUT", f"/webhooks/{remote_id}", update).json() == {}
    assert client.details(remote_id)["status"] == "enabled"

    deleted = client.call("DELETE", f"/webhooks/{remote_id}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, path in [("GET", "/status"), ("GET", "/details"), ("POST", "/status"), ("PUT", ""), ("DELETE", "")]:
        assert client.call(method, f"/webhooks/{remote_id}{path}", {}).status_code == 404


def test_tenants_do_not_see_each_other(client: Client, demo: Client) -> None:
    remote_id = client.register()
    assert demo.call("GET", "/webhooks").json() == []
    assert demo.call("GET", f"/webhooks/{remote_id}/details").status_code == 404


def test_unknown_paths_and_methods(client: Client) -> None:
    assert client.call("GET", "/webhooks/1/no-such").status_code == 404
    assert client.call("PATCH", "/webhooks").status_code == 405
    assert client.call("GET", f"/webhooks/{client.register()}").status_code == 405


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"url": None}, "url"),
        ({"url": 7}, "url"),
        ({"url": "hooks.example.test"}, "url"),
        ({"url": "https://[broken"}, "url"),
        ({"url": "https://x:99999/"}, "url"),
        ({"url": "http://hooks.example.test/t"}, "url"),
        ({"url": "ftp://127.0.0.1/t"}, "url"),
        ({"eventType": []}, "eventType"),
        ({"eventType": "fs:add_file"}, "eventType"),
        ({"eventType": ["fs:add_file", "fs:invented"]}, "eventType"),
        ({"eventType": [["fs:add_file"]]}, "eventType"),
        ({"path": "Shared"}, "path"),
        ({"path": "/Shared/a, b"}, "path"),
        ({"path": "/Shared,,/Private"}, "path"),
        ({"path": ["/Shared"]}, "path"),
        ({"path": ",".join(["/Shared"] * 101)}, "path"),
        ({"authHeader": "two\nlines"}, "authHeader"),
        ({"authHeader": "no name", "authHeaderValue": "x"}, "authHeader"),
    ],
)
def test_an_invalid_config_is_refused_in_the_providers_format(
    client: Client, config: dict[str, object], field: str
) -> None:
    remote_id = client.register()
    body = {"url": "https://hooks.example.test/t", **config}
    for response in (client.call("POST", "/webhooks", body), client.call("PUT", f"/webhooks/{remote_id}", body)):
        assert response.status_code == 400
        assert set(response.json()) == {"code", "message", "details"}
        assert field in response.json()["details"]
    assert len(client.state()["remote"]) == 1


def test_invalid_bodies_and_statuses_are_400(client: Client) -> None:
    remote_id = client.register()
    assert client.call("POST", "/webhooks", ["list"]).status_code == 400
    assert client.call("POST", "/webhooks").status_code == 400
    assert client.call("POST", f"/webhooks/{remote_id}/status", {"status": "paused"}).status_code == 400
    body = {"url": "https://hooks.example.test/changed", "status": "paused"}
    assert client.call("PUT", f"/webhooks/{remote_id}", body).status_code == 400
    assert client.details(remote_id)["url"] == "https://hooks.example.test/hooks/t"


def test_a_hundred_paths_loopback_urls_and_all_event_types_are_accepted(client: Client) -> None:
    client.register(path=",".join(f"/Shared/{number}" for number in range(100)))
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        client.register(f"http://{host}/hooks/t")
    everything = [*EgnyteConnectSimulator.event_types, *EgnyteConnectSimulator.wildcards]
    assert len(EgnyteConnectSimulator.event_types) == 36
    client.register(eventType=everything)


def test_the_number_of_webhooks_is_limited(client: Client, demo: Client) -> None:
    for _ in range(10):
        client.register()
    response = client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
    assert response.status_code == 409
    assert set(response.json()) == {"code", "message", "details"}
    demo.register()  # another domain
    client.control("options", max_webhooks=11)
    client.register()


def test_secret_and_url_can_be_hidden_from_details(client: Client) -> None:
    remote_id = client.register()
    client.control("options", hide_auth_header=True, hide_url=True)
    assert set(client.details(remote_id)) == {"webhookId", "expires", "status", "eventType", "path"}
    assert client.state()["remote"][0]["authHeader"] == SECRET
