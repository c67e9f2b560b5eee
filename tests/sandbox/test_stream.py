"""The stream of random events."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from providers.egnyte_connect.simulator import EgnyteConnectSimulator
from providers.sandbox.calls import Call
from providers.sandbox.server import Sandbox
from providers.sandbox.simulated_api import MAX_REMEMBERED
from providers.sandbox.tenant import LoginName
from providers.sandbox.webhook_sender import WebhookSender
from tests.harness.stub_server import StubServer
from tests.sandbox.client import SLUG, Client, events_of, eventually


@pytest.mark.slow
def test_the_stream_sends_every_type_before_repeating_one(client: Client, receiver: StubServer) -> None:
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


def test_the_stream_of_one_login_can_be_stopped(client: Client, demo: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/spare")
    demo.register(f"{receiver.url}/demo")
    client.control("stream", per_minute=6000, login="demo")
    eventually(lambda: len(receiver.received) >= 5)
    client.control("stream", per_minute=0)
    eventually(lambda: client.sandbox.simulators[SLUG].tenants[LoginName.DEMO].in_flight == 0)

    def quiet() -> bool:
        before = len(receiver.received)
        time.sleep(0.2)  # an active stream would send 20 more in that time
        return len(receiver.received) == before

    eventually(quiet)  # one batch may still be on its way
    assert {call.path for call in receiver.received} == {"/demo"}


def test_at_40_events_per_minute_all_types_are_sent_within_a_minute() -> None:
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


def test_an_invalid_sandbox_setting_leaves_no_open_port() -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        Sandbox(lease_seconds=-1e9).start()


def test_a_file_keeps_its_ids_when_it_is_moved(client: Client, receiver: StubServer) -> None:
    client.register(f"{receiver.url}/hooks/t", path="/Shared/A")
    client.emit(event_type="fs:add_file")
    client.emit(event_type="fs:move_file")
    added, moved = (event["data"] for event in events_of(receiver.received))
    assert moved["sourcePath"] == added["targetPath"] != moved["targetPath"]
    assert moved["targetId"] == added["targetId"]


@pytest.mark.slow
def test_remembered_calls_are_limited(client: Client) -> None:
    for _ in range(MAX_REMEMBERED + 1):
        client.call("GET", "/whoami")
    assert len(client.state()["calls"]) == MAX_REMEMBERED
