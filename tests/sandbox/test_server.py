"""The sandbox over HTTP: the control API, the simulated Egnyte Connect server, its deliveries and its stream."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from providers.egnyte_connect.simulator import EgnyteConnectSimulator
from providers.sandbox.call_budget import CallBudget, OverBudget
from providers.sandbox.calls import Call
from providers.sandbox.server import CLOSE_TIMEOUT_SECONDS, MAX_BODY_BYTES, Sandbox, find_simulators
from providers.sandbox.simulated_api import MAX_REMEMBERED
from providers.sandbox.tenant import LoginName
from providers.sandbox.webhook_sender import WebhookCall, WebhookSender, origin_of
from tests.harness.stub_server import Received, Scripted, StubServer

SLUG = "egnyte-connect"
SECRET = "Bearer s3cr3t-1"


class Client:
    """Plays an API client of one login, and the person at the control API."""

    def __init__(self, sandbox: Sandbox, login: int = 0) -> None:
        facts = sandbox.logins(SLUG)[login]
        self.sandbox = sandbox
        self.name: str = facts["login"]
        self.token: str = facts["credentials"]["access_token"]
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, body: object = None, token: str | None = None) -> requests.Response:
        return self.session.request(
            method,
            f"{self.sandbox.url}/pubapi/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {token or self.token}"},
            allow_redirects=False,
            timeout=10,
        )

    def register(self, url: str = "https://hooks.example.test/hooks/t", **config: object) -> str:
        answer = self.call("POST", "/webhooks", {"url": url, "authHeader": SECRET, **config})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["webhookId"])

    def details(self, remote_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/webhooks/{remote_id}/details").json())

    def raw(self, method: str, path: str, body: object = None) -> requests.Response:
        return self.session.request(method, f"{self.sandbox.url}/_sandbox/{path}", json=body, timeout=10)

    def control(self, what: str, **body: object) -> dict[str, Any]:
        answer = self.raw("POST", f"{SLUG}/{what}", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def emit(self, **body: object) -> list[dict[str, Any]]:
        return list(self.control("emit", **body)["deliveries"])

    def state(self, query: str = "") -> dict[str, Any]:
        return dict(self.raw("GET", f"{SLUG}/state{query}").json())


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=1) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    spare = Client(sandbox)
    spare.control("options", calls_per_second=None)
    with spare.session:
        yield spare


@pytest.fixture
def demo(sandbox: Sandbox, client: Client) -> Iterator[Client]:
    other = Client(sandbox, 1)
    with other.session:
        yield other


@pytest.fixture
def receiver() -> Iterator[StubServer]:
    with StubServer() as server:
        server._server.socket.listen(128)  # room for all senders at once; else some connections wait for a second
        yield server


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    stop = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < stop, "it did not happen in time"
        time.sleep(0.01)


def events_of(received: list[Received]) -> list[dict[str, Any]]:
    return [event for call in received for event in call.json()]


# -- Logins and control ------------------------------------------------------------------------------------------------


def test_two_logins_per_provider_are_listed_the_spare_one_first(sandbox: Sandbox, client: Client) -> None:
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
    ("what", "body", "field"),
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
def test_bad_control_input_is_400_and_names_the_field(client: Client, what: str, body: object, field: str) -> None:
    answer = client.raw("POST", f"{SLUG}/{what}", body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]


def test_broken_json_is_400(client: Client) -> None:
    for what in ("emit", "faults"):
        answer = client.session.post(f"{client.sandbox.url}/_sandbox/{SLUG}/{what}", data=b"{", timeout=10)
        assert answer.status_code == 400
        assert "error" in answer.json()


def test_what_is_not_there_is_404(client: Client) -> None:
    calls = [
        ("POST", "no-such/emit", {}),
        ("GET", "no-such/state", None),
        ("POST", f"{SLUG}/no-such", {}),
        ("POST", f"{SLUG}/remote/no-such", {"deleted": True}),
        ("POST", f"{SLUG}/emit", {"remote_id": "no-such"}),
    ]
    for method, path, body in calls:
        answer = client.raw(method, path, body)
        assert answer.status_code == 404, path
        assert "error" in answer.json()
    assert client.session.get(f"{client.sandbox.url}/elsewhere", timeout=10).status_code == 404


def test_wrong_methods_are_405(client: Client) -> None:
    for method, path in [("POST", ""), ("GET", f"{SLUG}/emit"), ("PUT", f"{SLUG}/state"), ("GET", f"{SLUG}/remote/1")]:
        answer = client.raw(method, path)
        assert answer.status_code == 405, path
        assert answer.headers["Allow"] in ("GET", "POST")


def test_control_answers_with_or_without_a_final_slash(client: Client) -> None:
    assert client.session.get(f"{client.sandbox.url}/_sandbox", timeout=10).status_code == 200
    assert client.raw("GET", f"{SLUG}/state/").status_code == 200


def test_a_login_narrows_what_is_controlled_and_shown(client: Client, demo: Client) -> None:
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


def test_options_change_what_was_given_and_are_shown(client: Client) -> None:
    client.control("options", envelope="events", login="spare")
    client.control("options", day_quota=5, retry_delays=[1, 2])
    options = client.state()["options"]
    assert options["spare"]["envelope"] == "events"
    assert options["demo"]["envelope"] == "array"
    assert [options[login]["day_quota"] for login in ("spare", "demo")] == [5, 5]
    assert options["demo"]["retry_delays"] == [1, 2]


def test_a_refused_option_changes_nothing(client: Client) -> None:
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


# -- The HTTP server ---------------------------------------------------------------------------------------------------


def test_a_connection_is_kept(client: Client) -> None:
    connection = http.client.HTTPConnection(client.sandbox.url.removeprefix("http://"), timeout=5)
    with closing(connection):
        connection.connect()
        connected = connection.sock
        for _ in range(2):
            connection.request("GET", "/_sandbox/")
            answer = connection.getresponse()
            assert (answer.status, answer.version) == (200, 11)
            answer.read()
            assert connection.sock is connected


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Transfer-Encoding: chunked", b"411"),
        (b"Content-Length: -5", b"400"),
        (b"Content-Length: %d" % (MAX_BODY_BYTES + 1), b"413"),
    ],
)
def test_bodies_of_unknown_or_absurd_length_are_refused(client: Client, head: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(client.sandbox.url.rpartition(":")[2])), 5) as connection:
        connection.sendall(b"POST /_sandbox/egnyte-connect/emit HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_a_port_in_use_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=int(sandbox.url.rpartition(":")[2])).start()


def test_closing_is_prompt_while_a_receiver_and_a_client_hang() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        sandbox = Sandbox()
        sandbox.start()
        client = Client(sandbox)
        with client.session:
            client.register(f"http://127.0.0.1:{deaf.getsockname()[1]}/hooks/t")
            client.control("faults", timeout=60)
            hanging = [lambda: client.emit(), lambda: client.call("GET", "/webhooks")]
            threads = [threading.Thread(target=_ignoring_broken_connections, args=(call,)) for call in hanging]
            for thread in threads:
                thread.start()
            eventually(lambda: any(call["status"] is None for call in client.state()["calls"]))
            eventually(lambda: sandbox.simulators[SLUG].tenants[LoginName.SPARE].in_flight == 1)
            started = time.monotonic()
            sandbox.close()
            for thread in threads:
                thread.join()
            assert time.monotonic() - started < CLOSE_TIMEOUT_SECONDS


def _ignoring_broken_connections(call: Callable[[], object]) -> None:
    try:
        call()
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, AssertionError):
        return  # cut off before, or in the middle of, the answer


# -- Egnyte's API ------------------------------------------------------------------------------------------------------


def test_whoami_tells_client_user_domain_and_scopes(client: Client, demo: Client) -> None:
    answer = client.call("GET", "/whoami").json()
    assert set(answer) == {"clientId", "username", "domain", "scopes"}
    assert answer["domain"] == "acme"
    assert "Egnyte.webhooks" in answer["scopes"]
    assert demo.call("GET", "/whoami").json()["domain"] == "globex"
    client.control("options", scopes=["Egnyte.filesystem"])
    assert client.call("GET", "/whoami").json()["scopes"] == ["Egnyte.filesystem"]


def test_a_path_that_two_providers_share_is_answered_by_whose_token_it_is(client: Client) -> None:
    for slug in (SLUG, "egnyte-msp"):
        for facts in client.sandbox.logins(slug):
            answer = client.call("GET", "/whoami", token=facts["credentials"]["access_token"])
            assert answer.json()["domain"] == facts["settings"]["domain"]
            calls = client.raw("GET", f"{slug}/state?login={facts['login']}").json()["calls"]
            assert [call["path"] for call in calls] == ["/pubapi/v1/whoami"]
    assert client.call("GET", "/webhooks", token=facts["credentials"]["access_token"]).status_code == 401


def test_an_unknown_token_is_401(client: Client) -> None:
    answer = client.call("GET", "/webhooks", token="wrong")
    assert answer.status_code == 401
    assert set(answer.json()) == {"code", "message", "details"}
    assert client.session.get(f"{client.sandbox.url}/pubapi/v1/whoami", timeout=10).status_code == 401


def test_a_webhook_from_registration_to_deletion(client: Client) -> None:
    config = {
        "url": "https://hooks.example.test/a",
        "eventType": ["fs:add_file", "link:*"],
        "path": "/Shared/A, /Shared/B",
    }
    answer = client.call("POST", "/webhooks", {**config, "authHeader": SECRET})
    assert answer.status_code == 201
    created = answer.json()
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
    assert set(details) == {"webhookId", "expires", "status", "url"}  # everything else was replaced by nothing
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
def test_a_bad_config_is_refused_in_their_envelope(client: Client, config: dict[str, object], field: str) -> None:
    remote_id = client.register()
    body = {"url": "https://hooks.example.test/t", **config}
    for answer in (client.call("POST", "/webhooks", body), client.call("PUT", f"/webhooks/{remote_id}", body)):
        assert answer.status_code == 400
        assert set(answer.json()) == {"code", "message", "details"}
        assert field in answer.json()["details"]
    assert len(client.state()["remote"]) == 1


def test_bodies_that_are_no_object_and_bad_statuses_are_400(client: Client) -> None:
    remote_id = client.register()
    assert client.call("POST", "/webhooks", ["list"]).status_code == 400
    assert client.call("POST", "/webhooks").status_code == 400
    assert client.call("POST", f"/webhooks/{remote_id}/status", {"status": "paused"}).status_code == 400
    body = {"url": "https://hooks.example.test/changed", "status": "paused"}
    assert client.call("PUT", f"/webhooks/{remote_id}", body).status_code == 400
    assert client.details(remote_id)["url"] == "https://hooks.example.test/hooks/t"


def test_a_hundred_paths_loopback_addresses_and_all_event_types_are_taken(client: Client) -> None:
    client.register(path=",".join(f"/Shared/{number}" for number in range(100)))
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        client.register(f"http://{host}/hooks/t")
    everything = [*EgnyteConnectSimulator.event_types, *EgnyteConnectSimulator.wildcards]
    assert len(EgnyteConnectSimulator.event_types) == 36
    client.register(eventType=everything)


def test_the_number_of_webhooks_is_limited(client: Client, demo: Client) -> None:
    for _ in range(10):
        client.register()
    answer = client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
    assert answer.status_code == 409
    assert set(answer.json()) == {"code", "message", "details"}
    demo.register()  # a domain of its own
    client.control("options", max_webhooks=11)
    client.register()


def test_secret_and_url_can_be_hidden_from_details(client: Client) -> None:
    remote_id = client.register()
    client.control("options", hide_auth_header=True, hide_url=True)
    assert set(client.details(remote_id)) == {"webhookId", "expires", "status"}
    assert client.state()["remote"][0]["authHeader"] == SECRET


# -- Throttling --------------------------------------------------------------------------------------------------------


def test_a_third_call_in_a_second_is_throttled_the_older_way(client: Client) -> None:
    client.control("options", calls_per_second=2)
    assert [client.call("GET", "/webhooks").status_code for _ in range(3)] == [200, 200, 403]
    answer = client.call("GET", "/webhooks")
    assert answer.headers["X-Mashery-Error-Code"] == "ERR_403_DEVELOPER_OVER_QPS"
    assert answer.headers["Retry-After"] == "1"
    client.control("clock", advance_seconds=0.6)
    assert client.call("GET", "/webhooks").status_code == 200


def test_throttling_the_newer_way_and_per_token(client: Client, demo: Client) -> None:
    client.control("options", throttle_style="429", calls_per_second=2)
    answers = [client.call("GET", "/webhooks") for _ in range(3)]
    assert answers[2].status_code == 429
    assert answers[2].headers["Retry-After"] == "1"
    assert demo.call("GET", "/webhooks").status_code == 200


def test_a_throttled_call_has_no_effect(client: Client) -> None:
    client.control("options", calls_per_second=1)
    answers = [client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 403]
    assert len(client.state()["remote"]) == 1


def test_quota_headers_and_the_day_quota_when_asked_for(client: Client) -> None:
    client.control("options", day_quota=2, calls_per_second=50)
    headers = client.call("GET", "/whoami").headers
    assert headers["X-Accesstoken-Qps-Allotted"] == "50"
    assert headers["X-Accesstoken-Qps-Current"] == "1"
    assert headers["X-Accesstoken-Quota-Allotted"] == "2"
    assert headers["X-Accesstoken-Quota-Current"] == "1"
    assert headers["x-quota-reset"].endswith("GMT")
    client.call("GET", "/whoami")
    over = client.call("GET", "/whoami")
    assert over.headers["X-Mashery-Error-Code"] == "ERR_403_DEVELOPER_OVER_RATE"
    assert 86000 < int(over.headers["Retry-After"]) <= 86400
    client.control("clock", advance_seconds=86400)
    assert client.call("GET", "/whoami").status_code == 200


def test_calls_evenly_spaced_at_the_limit_pass_though_they_arrive_unevenly() -> None:
    budget = CallBudget()
    assert [budget.take(per_second=2, per_day=None) for _ in range(3)] == [None, None, OverBudget.PER_SECOND]
    for wobble in (-0.02, 0.02, -0.04, 0.04):
        budget.age(0.5 + wobble)
        assert budget.take(per_second=2, per_day=None) is None
    budget.age(0.4)
    assert budget.take(per_second=2, per_day=None) is OverBudget.PER_SECOND


# -- Leases and what happens behind our back ---------------------------------------------------------------------------


def test_a_lease_ends_by_the_clock_and_the_webhook_stays_listed(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    client.control("clock", advance_seconds=100)
    (listed,) = client.call("GET", "/webhooks").json()
    assert listed["webhookId"] == remote_id
    assert -12 < listed["expires"] - time.time() < -8
    assert listed["status"] == "enabled"
    assert client.emit() == []
    assert receiver.received == []


def test_an_update_extends_the_lease_unless_told_otherwise(client: Client, receiver: StubServer) -> None:
    url = f"{receiver.url}/hooks/t"
    remote_id = client.register(url)
    client.control("clock", advance_seconds=100)
    client.control("options", update_extends=False)
    client.call("PUT", f"/webhooks/{remote_id}", {"url": url})
    assert client.details(remote_id)["expires"] < time.time()
    client.control("options", update_extends=True, lease_seconds=500)
    client.call("PUT", f"/webhooks/{remote_id}", {"url": url})
    assert 490 < client.details(remote_id)["expires"] - time.time() <= 500
    assert len(client.emit()) == 1


def test_the_lease_of_a_sandbox_can_be_chosen() -> None:
    with Sandbox(lease_seconds=7) as sandbox, Client(sandbox).session as session:
        client = Client(sandbox)
        client.session = session
        assert 5 < client.details(client.register())["expires"] - time.time() <= 7


def test_somebody_switches_a_webhook_off_and_on(client: Client) -> None:
    remote_id = client.register()
    changed = client.control(f"remote/{remote_id}", status="disabled")
    assert changed["remote_id"] == changed["webhookId"] == remote_id
    assert (changed["status"], changed["enabled"], changed["login"]) == ("disabled", False, "spare")
    assert client.call("GET", f"/webhooks/{remote_id}/status").json()["status"] == "disabled"
    assert client.control(f"remote/{remote_id}", status="enabled")["status"] == "enabled"


def test_somebody_deletes_a_webhook(client: Client) -> None:
    remote_id = client.register()
    assert client.control(f"remote/{remote_id}", deleted=True) == {"deleted": True}
    assert client.call("GET", f"/webhooks/{remote_id}/details").status_code == 404


def test_somebody_changes_a_config_in_their_words_or_ours(client: Client) -> None:
    remote_id = client.register(path="/Shared/A")
    before = client.details(remote_id)
    client.control(f"remote/{remote_id}", config={"eventType": ["fs:*"]})
    assert client.details(remote_id) == {**before, "eventType": ["fs:*"]}
    client.control(
        f"remote/{remote_id}",
        config={
            "event_types": [],
            "paths": ["/B", "/C"],
            "callback_url": "https://new.example.test/",
            "authHeader": "x",
        },
    )
    after = {**before, "path": "/B,/C", "url": "https://new.example.test/", "authHeader": "x"}
    assert client.details(remote_id) == after
    client.control(f"remote/{remote_id}", config={"paths": []})
    assert "path" not in client.details(remote_id)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({}, "status"),
        ({"status": "paused"}, "status"),
        ({"config": {"no_such": 1}}, "config.no_such"),
        ({"config": {"url": "nonsense"}}, "config.url"),
        ({"config": {"paths": ["no slash"]}}, "config.path"),
        ({"deleted": "yes"}, "deleted"),
    ],
)
def test_an_impossible_change_behind_our_back_is_400(client: Client, change: dict[str, object], field: str) -> None:
    remote_id = client.register()
    before = client.details(remote_id)
    answer = client.raw("POST", f"{SLUG}/remote/{remote_id}", change)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)
    assert client.details(remote_id) == before


# -- Faults ------------------------------------------------------------------------------------------------------------


def test_a_status_fault_has_no_effect_and_ends_after_its_times(client: Client) -> None:
    client.control("faults", status=503, times=2, retry_after=4)
    for _ in range(2):
        answer = client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "4")
        assert set(answer.json()) == {"code", "message", "details"}
    assert client.call("GET", "/webhooks").json() == []


@pytest.mark.parametrize(
    ("fault", "webhooks"), [({"timeout": 0.05}, 1), ({"drop": True}, 1), ({"drop": "before"}, 0)], ids=str
)
def test_a_call_without_an_answer(client: Client, fault: dict[str, object], webhooks: int) -> None:
    client.control("faults", **fault)
    with pytest.raises(requests.ConnectionError):
        client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
    assert len(client.call("GET", "/webhooks").json()) == webhooks


def test_answers_that_cannot_be_used(client: Client) -> None:
    client.control("faults", redirect=True)
    client.control("faults", garbage=True)
    client.control("faults", huge=True)
    body = {"url": "https://hooks.example.test/t"}
    redirect, garbage, huge = (client.call("POST", "/webhooks", body) for _ in range(3))
    assert (redirect.status_code, redirect.headers["Location"]) == (302, "/moved")
    assert garbage.status_code == huge.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        garbage.json()
    assert len(huge.content) > 10 * 1024 * 1024
    assert len(client.state()["remote"]) == 2  # garbage and huge took effect


def test_faults_can_be_cleared(client: Client) -> None:
    client.control("faults", status=500, times=100)
    assert client.state()["faults"]["spare"] == 100
    client.control("faults", times=0)
    assert client.call("GET", "/webhooks").status_code == 200


# -- Deliveries --------------------------------------------------------------------------------------------------------


def test_emit_delivers_a_json_array_with_the_secret(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t?x=1")
    (delivery,) = client.emit(event_type="fs:move_file")
    (call,) = receiver.received
    (event,) = call.json()
    assert delivery == {"remote_id": remote_id, "event_ids": [event["eventId"]], "status": 200}
    assert (call.method, call.path) == ("POST", "/hooks/t?x=1")
    assert call.header("Authorization") == SECRET
    assert call.header("Content-Type") == "application/json"
    assert "Egnyte" in str(call.header("User-Agent"))
    assert event["domain"] == "acme"
    assert event["webhookId"] == remote_id
    assert abs(event["timestamp"] / 1000 - time.time()) < 10
    assert set(event["user"]) == {"id", "displayName", "username", "email", "clientIdHash", "impersonatedBy"}
    assert set(event) >= {"actionSource", "customProperties", "data"}
    assert {"targetPath", "sourcePath", "targetId", "isFolder"} <= set(event["data"])


def test_every_event_type_has_data_of_its_own(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    for event_type in EgnyteConnectSimulator.event_types:
        client.emit(event_type=event_type)
    events = events_of(receiver.received)
    assert [event["eventType"] for event in events] == list(EgnyteConnectSimulator.event_types)
    assert all(event["data"] for event in events)
    keys = {event["eventType"]: set(event["data"]) for event in events}
    assert "linkUrl" in keys["link:create_upload_link"]
    assert {"noteId", "message"} <= keys["comment:set_comment"]
    assert {"namespace", "key", "value"} <= keys["meta:add_metadata_key"]
    assert {"workflowId", "taskId"} <= keys["workflow:approvaltask_rejected"]
    assert keys["group:rename"] == {"groupId", "groupName", "oldName"}
    assert "members" in keys["group:add_owner"]
    assert {"permissions", "targetPath"} <= keys["permission:permission_change"]


def test_count_counts_events_and_ids_are_never_repeated(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    deliveries = client.emit(count=50)
    sent = [event_id for delivery in deliveries for event_id in delivery["event_ids"]]
    events = events_of(receiver.received)
    assert Counter(event["eventId"] for event in events) == Counter(sent)
    assert len(set(sent)) == 50
    sizes = {len(call.json()) for call in receiver.received}
    assert sizes <= {1, 2, 3, 4}
    assert len(sizes) > 1


def test_event_types_and_wildcards_filter(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t", eventType=["link:*", "fs:add_file"])
    assert len(client.emit(event_type="link:delete")) == 1
    assert len(client.emit(event_type="fs:add_file")) == 1
    assert client.emit(event_type="fs:delete_file") == []
    assert client.emit(event_type="group:create") == []
    client.emit(count=30)
    types = {event["eventType"] for event in events_of(receiver.received)}
    assert types <= {"fs:add_file", *(name for name in EgnyteConnectSimulator.event_types if name.startswith("link:"))}


def test_an_event_type_that_nobody_knows_goes_to_everybody(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a", eventType=["group:create"], path="/Shared/A")
    client.register(f"{receiver.url}/b")
    assert [delivery["status"] for delivery in client.emit(event_type="ai:summarised")] == [200, 200]
    assert {event["eventType"] for event in events_of(receiver.received)} == {"ai:summarised"}


def test_path_filters_hold_at_folder_borders(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a", path="/Shared/A, /Shared/C/")
    client.register(f"{receiver.url}/ab", path="/Shared/AB")
    client.register(f"{receiver.url}/all", path="/Shared")
    client.emit(event_type="fs:add_file", count=20)
    places: dict[str, list[str]] = {"/a": [], "/ab": [], "/all": []}
    for call in receiver.received:
        places[call.path] += [event["data"]["targetPath"] for event in call.json()]
    assert [len(found) for found in places.values()] == [20, 20, 20]
    assert all(path.startswith(("/Shared/A/", "/Shared/C/")) for path in places["/a"])
    assert all(path.startswith("/Shared/AB/") for path in places["/ab"])
    assert set(places["/a"]) & set(places["/all"])  # the same event, at both
    assert not any("//" in path for path in places["/a"])


def test_webhooks_that_overlap_share_an_event(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a")
    client.register(f"{receiver.url}/b")
    first, second = client.emit()
    assert first["event_ids"] == second["event_ids"]
    assert first["remote_id"] != second["remote_id"]


def test_emit_can_be_narrowed(client: Client, demo: Client, receiver: StubServer) -> None:
    wanted = client.register(f"{receiver.url}/wanted")
    client.register(f"{receiver.url}/other")
    demo.register(f"{receiver.url}/demo")
    client.emit(remote_id=wanted, count=2)
    assert {call.path for call in receiver.received} == {"/wanted"}
    client.emit(login="demo")
    assert receiver.received[-1].path == "/demo"
    assert client.raw("POST", f"{SLUG}/emit", {"remote_id": wanted, "login": "demo"}).status_code == 404


def test_a_duplicate_is_sent_a_second_time(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    first, second = client.emit(duplicate=True)
    assert first == second
    assert receiver.received[0].body == receiver.received[1].body


def test_a_bad_signature_is_a_wrong_secret_and_a_one_off(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    receiver.say(Scripted(401))
    assert client.emit(bad_signature=True)[0]["status"] == 401
    assert receiver.received[0].header("Authorization") not in (None, SECRET)
    state = client.state()
    assert state["retries"] == []
    assert state["remote"][0]["failures"] == 0
    client.call("PUT", f"/webhooks/{remote_id}", {"url": f"{receiver.url}/hooks/t"})
    client.emit()
    assert receiver.received[1].header("Authorization") is None  # no secret was configured any more


@pytest.mark.parametrize(
    ("option", "config", "header", "value"),
    [
        ("authorization", {}, "Authorization", SECRET),
        ("authentication", {}, "Authentication", SECRET),
        ("named", {}, "Authorization", SECRET),
        ("named", {"authHeader": "X-Hook-Key", "authHeaderValue": "v"}, "X-Hook-Key", "v"),
        ("authorization", {"authHeader": "X-Hook-Key", "authHeaderValue": "v"}, "X-Hook-Key", "v"),
    ],
)
def test_where_the_secret_stands(
    client: Client, receiver: StubServer, option: str, config: dict[str, str], header: str, value: str
) -> None:
    client.control("options", auth_delivery=option)
    client.register(f"{receiver.url}/hooks/t", **config)
    client.emit()
    proofs = {name: receiver.received[0].header(name) for name in ("Authorization", "Authentication", "X-Hook-Key")}
    assert {name: found for name, found in proofs.items() if found} == {header: value}


def test_envelopes(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    client.control("options", envelope="object")
    client.emit(count=3)
    assert all("eventId" in call.json() for call in receiver.received)
    assert len(receiver.received) == 3
    client.control("options", envelope="events")
    client.emit()
    assert list(receiver.received[-1].json()) == ["events"]


def test_disabled_webhooks_get_nothing(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    client.call("POST", f"/webhooks/{remote_id}/status", {"status": "disabled"})
    assert client.emit() == []
    client.call("POST", f"/webhooks/{remote_id}/status", {"status": "enabled"})
    assert len(client.emit()) == 1


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_only_200_counts_as_received(client: Client, receiver: StubServer, status: int) -> None:
    client.register(f"{receiver.url}/hooks/t")
    receiver.say(Scripted(status, headers={"Location": f"{receiver.url}/elsewhere"}))
    assert [delivery["status"] for delivery in client.emit()] == [status]
    assert len(client.state()["retries"]) == 1
    assert [call.path for call in receiver.received] == ["/hooks/t"]


def test_a_network_failure_has_no_status(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client.register(f"http://127.0.0.1:{port}/hooks/t")
    assert [delivery["status"] for delivery in client.emit()] == [None]
    (delivery,) = client.state()["deliveries"]
    assert "refused" in delivery["failure"].lower()
    assert delivery["next_attempt_at"] > delivery["at"]


def test_what_failed_is_tried_again_with_growing_delay(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    receiver.say(*[Scripted(500)] * 3)
    client.emit()
    for attempt, delay in ((2, 2), (3, 5), (4, 15)):
        eventually(lambda attempt=attempt: [r["attempt"] for r in client.state()["retries"]] == [attempt])  # type: ignore[misc]
        client.control("clock", advance_seconds=delay - 1)
        assert len(receiver.received) == attempt - 1
        client.control("clock", advance_seconds=1)
        eventually(lambda attempt=attempt: len(receiver.received) == attempt)  # type: ignore[misc]
    eventually(lambda: len(client.state()["deliveries"]) == 4)
    state = client.state()
    assert [(d["attempt"], d["status"]) for d in state["deliveries"]] == [(1, 500), (2, 500), (3, 500), (4, 200)]
    assert len({d["event_ids"][0] for d in state["deliveries"]}) == 1
    assert (state["retries"], state["remote"][0]["failures"]) == ([], 0)


def test_repeated_permanent_failures_switch_a_webhook_off(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    client.control("options", retry_delays=[])
    receiver.say(*[Scripted(500)] * 4)
    client.emit(count=1)
    for expected in (2, 3, 4):
        client.emit()
        assert client.state()["remote"][0]["failures"] == expected
    client.emit()  # received: they must come in a row
    assert client.state()["remote"][0]["failures"] == 0
    receiver.say(*[Scripted(500)] * 5)
    for _ in range(5):
        assert client.details(remote_id)["status"] == "enabled"
        client.emit()
    assert client.details(remote_id)["status"] == "disabled"
    assert client.emit() == []
    client.call("POST", f"/webhooks/{remote_id}/status", {"status": "enabled"})
    assert client.state()["remote"][0]["failures"] == 0
    assert client.emit()[0]["status"] == 200


def test_what_waits_for_another_try_is_given_up_when_the_webhook_goes(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    receiver.say(Scripted(500))
    client.emit()
    client.call("DELETE", f"/webhooks/{remote_id}")
    client.control("clock", advance_seconds=2)
    eventually(lambda: client.state()["retries"] == [])
    assert len(receiver.received) == 1


def test_the_retry_schedule_of_a_sandbox_can_be_chosen(receiver: StubServer) -> None:
    with Sandbox(retry_delays=[0.01, 0.01]) as sandbox:
        client = Client(sandbox)
        with client.session:
            client.register(f"{receiver.url}/hooks/t")
            receiver.say(*[Scripted(503)] * 3)
            client.emit()
            eventually(lambda: client.state()["remote"][0]["failures"] == 1)
            assert len(receiver.received) == 3


def test_callback_urls_can_be_reached_at_another_origin(receiver: StubServer) -> None:
    with Sandbox(deliver_to={"http://hooks.example.test": receiver.url}) as sandbox:
        client = Client(sandbox)
        with client.session:
            client.register("http://hooks.example.test:80/hooks/t?x=1")
            assert client.emit()[0]["status"] == 200
    (call,) = receiver.received
    assert (call.path, call.header("Host")) == ("/hooks/t?x=1", "hooks.example.test:80")


def test_origins_are_compared_with_their_ports() -> None:
    assert origin_of("https://Hooks.example.test/a?b") == origin_of("https://hooks.example.test:443")
    assert origin_of("http://[::1]/") == origin_of("http://[::1]:80/x")
    assert origin_of("http://a:81/") != origin_of("http://a/")


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:99999/", "http://no-such-host.invalid/"])
def test_an_unreachable_url_is_a_network_failure(url: str) -> None:
    receipt = WebhookSender().send(WebhookCall("POST", url, {}, b""), timeout=1)
    assert receipt.status is None
    assert receipt.failure


# -- Stream ------------------------------------------------------------------------------------------------------------


def test_the_stream_tells_of_every_wanted_type_before_it_repeats_itself(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t", path="/Shared/Finance")
    client.control("stream", per_minute=60_000)
    eventually(lambda: len(events_of(receiver.received)) >= 80)
    client.control("stream", per_minute=0)
    counted = Counter(event["eventType"] for event in events_of(receiver.received))
    assert set(counted) == set(EgnyteConnectSimulator.event_types)
    assert max(counted.values()) - min(counted.values()) <= 2
    events = events_of(receiver.received)
    paths = [event["data"]["targetPath"] for event in events if "targetPath" in event["data"]]
    assert all(path.startswith("/Shared/Finance/") for path in paths)
    assert len({event["eventId"] for event in events}) == len(events)
    assert {len(call.json()) for call in receiver.received} > {1}  # batches among them


def test_the_stream_of_one_login_can_be_quiet(client: Client, demo: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/spare")
    demo.register(f"{receiver.url}/demo")
    client.control("stream", per_minute=6000, login="demo")
    eventually(lambda: len(receiver.received) >= 5)
    client.control("stream", per_minute=0)
    eventually(lambda: client.sandbox.simulators[SLUG].tenants[LoginName.DEMO].in_flight == 0)

    def quiet() -> bool:
        before = len(receiver.received)
        time.sleep(0.2)  # 20 more would come in that time
        return len(receiver.received) == before

    eventually(quiet)  # one batch may have been on its way
    assert {call.path for call in receiver.received} == {"/demo"}


def test_at_40_a_minute_all_types_come_within_about_a_minute() -> None:
    simulator = EgnyteConnectSimulator("http://127.0.0.1:1", sender=WebhookSender(), per_minute=40, seed=3)
    headers = {"authorization": "Bearer sandbox-egnyte-connect-demo-token"}
    simulator.respond(
        Call(
            method="POST", path="/pubapi/v1/webhooks", headers=headers, body=b'{"url": "https://hooks.example.test/t"}'
        )
    )
    tenant = simulator.tenants[LoginName.DEMO]
    seen: set[str] = set()
    seconds = 0.0
    while seen != set(simulator.event_types):
        seen |= {event.type for batch in simulator._due_events(tenant) for event in batch.events}
        seconds += tenant.next_event_at - time.time()
        tenant.next_event_at = 0.0
    simulator.close()
    assert 40 < seconds < 75


def test_a_bad_setting_of_a_sandbox_leaves_nothing_open() -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        Sandbox(lease_seconds=-1).start()


def test_a_file_keeps_its_ids_when_it_is_moved(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t", path="/Shared/A")
    client.emit(event_type="fs:add_file")
    client.emit(event_type="fs:move_file")
    added, moved = (event["data"] for event in events_of(receiver.received))
    assert moved["sourcePath"] == added["targetPath"] != moved["targetPath"]
    assert moved["targetId"] == added["targetId"]


def test_what_is_remembered_is_bounded(client: Client) -> None:
    for _ in range(MAX_REMEMBERED + 1):
        client.call("GET", "/whoami")
    assert len(client.state()["calls"]) == MAX_REMEMBERED


# -- The command -------------------------------------------------------------------------------------------------------

RUN_COMMAND = """
import sys
import django
from django.core.management import call_command
from providers.management.commands.sandbox import Command
django.setup()
call_command(Command(), port=int(sys.argv[1]))
"""


def _start_command(port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN_COMMAND, str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_serves_a_lively_sandbox_until_it_is_told_to_stop() -> None:
    with _start_command(0) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().split()[1]
            assert requests.get(url, timeout=10).json()["providers"]
            stream = requests.get(f"{url}{SLUG}/state", timeout=10).json()["stream"]
        finally:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert stream["demo"]["per_minute"] == 40


def test_the_command_names_the_setting_when_the_port_is_taken(sandbox: Sandbox) -> None:
    with _start_command(int(sandbox.url.rpartition(":")[2])) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "SANDBOX_PORT" in errors
