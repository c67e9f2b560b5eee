"""The control API of the sandbox."""

from __future__ import annotations

import pytest
import requests

from providers.egnyte_connect.simulator import EgnyteConnectSimulator
from providers.sandbox.server import Sandbox, find_simulators
from tests.sandbox.client import SLUG, Client


def test_two_logins_per_provider_are_listed_with_the_spare_one_first(sandbox: Sandbox, client: Client) -> None:
    entries = [entry for entry in client.raw("GET", "").json()["providers"] if entry["slug"] == SLUG]
    assert entries == sandbox.logins(SLUG)
    assert [entry["login"] for entry in entries] == ["spare", "demo"]
    assert [entry["settings"]["domain"] for entry in entries] == ["acme", "globex"]
    assert {entry["base_url"] for entry in entries} == {sandbox.url} == {e["settings"]["base_url"] for e in entries}
    assert len({entry["credentials"]["access_token"] for entry in entries}) == 2


def test_logins_stay_the_same_after_a_restart(sandbox: Sandbox) -> None:
    with Sandbox() as again:
        assert [e["credentials"] for e in again.logins(SLUG)] == [e["credentials"] for e in sandbox.logins(SLUG)]


def test_simulators_are_found_by_their_folder() -> None:
    assert EgnyteConnectSimulator in find_simulators()


@pytest.mark.parametrize(
    ("command", "body", "field"),
    [
        ("emit", {"count": "many"}, "count"),
        ("emit", {"count": 0}, "count"),
        ("emit", {"surprise": 1}, "surprise"),
        ("emit", {"event_type": "fs:*"}, "event_type"),
        ("emit", {"login": "nobody"}, "login"),
        ("emit", ["no object"], "object"),
        ("stream", {}, "per_minute"),
        ("stream", {"per_minute": -1}, "per_minute"),
        ("faults", {"times": 1}, "status"),
        ("faults", {"status": 500, "drop": True}, "status"),
        ("faults", {"status": 99}, "status"),
        ("faults", {"drop": "after"}, "drop"),
        ("clock", {"advance_seconds": "1"}, "advance_seconds"),
        ("clock", {"advance_seconds": -1}, "advance_seconds"),
        ("options", {"day_quota": -1}, "day_quota"),
        ("options", {"envelope": "letter"}, "envelope"),
        ("options", {"no_such": 1}, "no_such"),
        ("options", {"login": 7}, "login"),
    ],
)
def test_bad_control_input_is_400_and_names_the_field(client: Client, command: str, body: object, field: str) -> None:
    response = client.raw("POST", f"{SLUG}/{command}", body)
    assert response.status_code == 400
    assert field in response.json()["error"]


def test_broken_json_is_400(client: Client) -> None:
    for command in ("emit", "faults"):
        response = client.session.post(f"{client.sandbox.url}/_sandbox/{SLUG}/{command}", data=b"{", timeout=10)
        assert response.status_code == 400
        assert "error" in response.json()


def test_unknown_control_paths_are_404(client: Client) -> None:
    calls = [
        ("POST", "no-such/emit", {}),
        ("GET", "no-such/state", None),
        ("POST", f"{SLUG}/no-such", {}),
        ("POST", f"{SLUG}/remote/no-such", {"deleted": True}),
        ("POST", f"{SLUG}/emit", {"remote_id": "no-such"}),
    ]
    for method, path, body in calls:
        response = client.raw(method, path, body)
        assert response.status_code == 404, path
        assert "error" in response.json()
    assert client.session.get(f"{client.sandbox.url}/elsewhere", timeout=10).status_code == 404


def test_unsupported_methods_are_405(client: Client) -> None:
    for method, path in [("POST", ""), ("GET", f"{SLUG}/emit"), ("PUT", f"{SLUG}/state"), ("GET", f"{SLUG}/remote/1")]:
        response = client.raw(method, path)
        assert response.status_code == 405, path
        assert response.headers["Allow"] in ("GET", "POST")


def test_control_paths_may_end_with_a_slash(client: Client) -> None:
    assert client.session.get(f"{client.sandbox.url}/_sandbox", timeout=10).status_code == 200
    assert client.raw("GET", f"{SLUG}/state/").status_code == 200


def test_a_login_limits_control_calls_to_one_tenant(client: Client, demo: Client) -> None:
    client.register()
    demo.register()
    client.control("faults", status=500, login="demo")
    assert client.call("GET", "/webhooks").status_code == 200
    assert demo.call("GET", "/webhooks").status_code == 500
    assert len(client.state()["remote"]) == 2
    narrowed = client.state("?login=demo")
    assert [hook["login"] for hook in narrowed["remote"]] == ["demo"]
    assert {call["login"] for call in narrowed["calls"]} == {"demo"}
    assert set(narrowed["options"]) == {"demo"}
    assert client.raw("GET", f"{SLUG}/state?login=nobody").status_code == 400


def test_options_are_merged_and_shown(client: Client) -> None:
    client.control("options", envelope="events", login="spare")
    client.control("options", day_quota=5, retry_delays=[1, 2])
    options = client.state()["options"]
    assert options["spare"]["envelope"] == "events"
    assert options["demo"]["envelope"] == "array"
    assert [options[login]["day_quota"] for login in ("spare", "demo")] == [5, 5]
    assert options["demo"]["retry_delays"] == [1, 2]


def test_an_invalid_option_changes_nothing(client: Client) -> None:
    before = client.state()["options"]
    assert client.raw("POST", f"{SLUG}/options", {"max_webhooks": 3, "envelope": 1}).status_code == 400
    assert client.state()["options"] == before


def test_calls_are_remembered_without_secrets(client: Client) -> None:
    client.call("GET", "/whoami")
    client.call("GET", "/whoami", token="wrong")
    client.control("faults", drop=True)
    with pytest.raises(requests.ConnectionError):
        client.call("GET", "/webhooks")
    first, second, third = client.state()["calls"]
    assert set(first) == {"method", "path", "status", "login", "at"}
    assert (first["method"], first["path"], first["status"], first["login"]) == (
        "GET",
        "/pubapi/v1/whoami",
        200,
        "spare",
    )
    assert (second["status"], second["login"]) == (401, None)
    assert (third["path"], third["status"]) == ("/pubapi/v1/webhooks", None)
    assert client.token not in str(client.state()["calls"])
