"""Webhook deliveries of the sandbox."""

from __future__ import annotations

import socket
import time
from collections import Counter

import pytest

from providers.egnyte_connect.simulator import EgnyteConnectSimulator
from providers.sandbox.server import Sandbox
from providers.sandbox.webhook_sender import WebhookCall, WebhookSender, origin_of
from tests.harness.stub_server import Scripted, StubServer
from tests.sandbox.client import SECRET, SLUG, Client, events_of, eventually


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


def test_every_event_type_has_its_own_data(client: Client, receiver: StubServer) -> None:
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


def test_count_is_the_number_of_events_and_ids_are_unique(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    deliveries = client.emit(count=50)
    sent = [event_id for delivery in deliveries for event_id in delivery["event_ids"]]
    events = events_of(receiver.received)
    assert Counter(event["eventId"] for event in events) == Counter(sent)
    assert len(set(sent)) == 50
    sizes = {len(call.json()) for call in receiver.received}
    assert sizes <= {1, 2, 3, 4}
    assert len(sizes) > 1


def test_events_are_filtered_by_type_and_wildcard(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t", eventType=["link:*", "fs:add_file"])
    assert len(client.emit(event_type="link:delete")) == 1
    assert len(client.emit(event_type="fs:add_file")) == 1
    assert client.emit(event_type="fs:delete_file") == []
    assert client.emit(event_type="group:create") == []
    client.emit(count=30)
    types = {event["eventType"] for event in events_of(receiver.received)}
    assert types <= {"fs:add_file", *(name for name in EgnyteConnectSimulator.event_types if name.startswith("link:"))}


def test_an_unknown_event_type_goes_to_every_webhook(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a", eventType=["group:create"], path="/Shared/A")
    client.register(f"{receiver.url}/b")
    assert [delivery["status"] for delivery in client.emit(event_type="ai:summarized")] == [200, 200]
    assert {event["eventType"] for event in events_of(receiver.received)} == {"ai:summarized"}


def test_path_filters_match_whole_folder_names(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a", path="/Shared/A, /Shared/C/")
    client.register(f"{receiver.url}/ab", path="/Shared/AB")
    client.register(f"{receiver.url}/all", path="/Shared")
    client.emit(event_type="fs:add_file", count=20)
    places: dict[str, list[str]] = {"/a": [], "/ab": [], "/all": []}
    for call in receiver.received:
        places[call.path] += [event["data"]["targetPath"] for event in call.json()]
    assert [len(paths) for paths in places.values()] == [20, 20, 20]
    assert all(path.startswith(("/Shared/A/", "/Shared/C/")) for path in places["/a"])
    assert all(path.startswith("/Shared/AB/") for path in places["/ab"])
    assert set(places["/a"]) & set(places["/all"])  # the same event, at both
    assert not any("//" in path for path in places["/a"])


def test_overlapping_webhooks_share_events(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/a")
    client.register(f"{receiver.url}/b")
    first, second = client.emit()
    assert first["event_ids"] == second["event_ids"]
    assert first["remote_id"] != second["remote_id"]


def test_emit_can_be_limited_to_a_webhook_or_login(client: Client, demo: Client, receiver: StubServer) -> None:
    target = client.register(f"{receiver.url}/target")
    client.register(f"{receiver.url}/other")
    demo.register(f"{receiver.url}/demo")
    client.emit(remote_id=target, count=2)
    assert {call.path for call in receiver.received} == {"/target"}
    client.emit(login="demo")
    assert receiver.received[-1].path == "/demo"
    assert client.raw("POST", f"{SLUG}/emit", {"remote_id": target, "login": "demo"}).status_code == 404


def test_duplicates_are_sent_twice(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    first, second = client.emit(duplicate=True)
    assert first == second
    assert receiver.received[0].body == receiver.received[1].body


def test_a_bad_signature_is_a_wrong_secret_without_retry(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    receiver.say(Scripted(401))
    assert client.emit(bad_signature=True)[0]["status"] == 401
    assert receiver.received[0].header("Authorization") not in (None, SECRET)
    state = client.state()
    assert state["retries"] == []
    assert state["remote"][0]["failures"] == 0
    client.call("PUT", f"/webhooks/{remote_id}", {"url": f"{receiver.url}/hooks/t"})
    client.emit()
    assert receiver.received[1].header("Authorization") is None  # the update removed the secret


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
def test_the_secret_is_sent_in_the_configured_header(
    client: Client, receiver: StubServer, option: str, config: dict[str, str], header: str, value: str
) -> None:
    client.control("options", auth_delivery=option)
    client.register(f"{receiver.url}/hooks/t", **config)
    client.emit()
    headers = {name: receiver.received[0].header(name) for name in ("Authorization", "Authentication", "X-Hook-Key")}
    assert {name: value for name, value in headers.items() if value} == {header: value}


def test_every_envelope_is_sent(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t")
    client.control("options", envelope="object")
    client.emit(count=3)
    assert all("eventId" in call.json() for call in receiver.received)
    assert len(receiver.received) == 3
    client.control("options", envelope="events")
    client.emit()
    assert list(receiver.received[-1].json()) == ["events"]


def test_disabled_webhooks_receive_nothing(client: Client, receiver: StubServer) -> None:
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


def test_failed_deliveries_are_retried_with_growing_delay(client: Client, receiver: StubServer) -> None:
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


def test_repeated_failures_disable_a_webhook(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    client.control("options", retry_delays=[])
    receiver.say(*[Scripted(500)] * 4)
    client.emit(count=1)
    for expected in (2, 3, 4):
        client.emit()
        assert client.state()["remote"][0]["failures"] == expected
    client.emit()  # succeeds: only consecutive failures count
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


def test_retries_end_when_the_webhook_is_deleted(client: Client, receiver: StubServer) -> None:
    remote_id = client.register(f"{receiver.url}/hooks/t")
    receiver.say(Scripted(500))
    client.emit()
    client.call("DELETE", f"/webhooks/{remote_id}")
    client.control("clock", advance_seconds=2)
    eventually(lambda: client.state()["retries"] == [])
    assert len(receiver.received) == 1


def test_the_retry_schedule_is_configurable(receiver: StubServer) -> None:
    with Sandbox(retry_delays=[0.01, 0.01]) as sandbox:
        client = Client(sandbox)
        with client.session:
            client.register(f"{receiver.url}/hooks/t")
            receiver.say(*[Scripted(503)] * 3)
            client.emit()
            eventually(lambda: client.state()["remote"][0]["failures"] == 1)
            assert len(receiver.received) == 3


def test_callback_urls_can_be_redirected_to_another_origin(receiver: StubServer) -> None:
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
