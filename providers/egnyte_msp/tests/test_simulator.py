"""Egnyte MSP's simulated server over HTTP: its API, its sample events, its deliveries, and disabling after failures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from providers.egnyte_msp import provider
from providers.egnyte_msp.payloads import LinkNfrManually
from providers.egnyte_msp.simulator import EVENT_NAMES
from providers.sandbox.server import Sandbox
from tests.harness.stub_server import Scripted, StubServer

SECRET = "hk_" + "s3cr3t" * 6
OWN_FIELDS = {"nfr_domain_name", "nfr_plan", "power_users", "storage"}  # of RESELLER_LINK_NFR_MANUALLY
COMMON_FIELDS = {"event_type", *LinkNfrManually.model_fields} - OWN_FIELDS


class Client:
    """A client of the API with one login, and of the control API."""

    def __init__(self, sandbox: Sandbox, login: int = 0) -> None:
        facts = sandbox.logins(provider.slug)[login]
        self.sandbox = sandbox
        self.token: str = facts["credentials"]["access_token"]

    def call(self, method: str, path: str = "", body: object = None, token: str | None = None) -> requests.Response:
        return requests.request(
            method,
            f"{self.sandbox.url}/pubapi/v1/msp/webhooks{path}",
            json=body,
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=10,
        )

    def register(self, url: str = "https://hooks.example.test/hooks/t", **changes: Any) -> str:
        answer = self.call("POST", "", body_for(url, **changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["webhook_id"])

    def control(self, path: str, **body: object) -> Any:
        answer = requests.post(f"{self.sandbox.url}/_sandbox/{provider.slug}/{path}", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self) -> Any:
        return requests.get(f"{self.sandbox.url}/_sandbox/{provider.slug}/state", timeout=10).json()


def body_for(url: str = "https://hooks.example.test/hooks/t", **changes: Any) -> dict[str, object]:
    body: dict[str, object] = {
        "webhook_url": url,
        "eventTypes": list(EVENT_NAMES),
        "auth_header": "X-Hook-Key",
        "auth_header_value": SECRET,
    }
    return {**body, **changes}


@pytest.fixture
def client() -> Iterator[Client]:
    with Sandbox(seed=1, retry_delays=[0.01, 0.01]) as sandbox:
        client = Client(sandbox)
        client.control("options", calls_per_second=None)
        yield client


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    stop = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < stop, "it did not happen in time"
        time.sleep(0.01)


def test_register_read_update_and_delete_a_webhook(client: Client) -> None:
    remote_id = client.register()
    summary = {"webhook_id": remote_id, "status": "enabled"}
    assert client.call("GET").json() == [summary]
    shown = {
        **summary,
        "event_types": list(EVENT_NAMES),
        "webhook_url": "https://hooks.example.test/hooks/t",
        "auth_header": "X-Hook-Key",
        "auth_header_value": SECRET,
    }
    assert client.call("GET", f"/{remote_id}").json() == shown
    changes = body_for("https://hooks.example.test/b", event_types=["USER_ADDED"], eventTypes=None)
    assert client.call("PUT", f"/{remote_id}", changes).json() == summary
    assert client.call("GET", f"/{remote_id}").json()["event_types"] == ["USER_ADDED"]
    assert client.call("DELETE", f"/{remote_id}").json() == {"success": True}
    for method in ("GET", "PUT", "DELETE"):
        assert client.call(method, f"/{remote_id}", body_for()).status_code == 404
    assert client.call("PATCH").status_code == 405


def test_each_login_has_its_own_webhooks(client: Client) -> None:
    demo = Client(client.sandbox, 1)
    remote_id = demo.register()
    assert client.call("GET").json() == []
    assert client.call("GET", f"/{remote_id}").status_code == 404
    unknown = client.call("GET", token="wrong")
    assert (unknown.status_code, set(unknown.json())) == (401, {"message", "code"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"webhook_url": None}, "webhook_url"),
        ({"webhook_url": "http://hooks.example.test/t"}, "webhook_url"),
        ({"webhook_url": "https://[broken"}, "webhook_url"),
        ({"eventTypes": []}, "eventTypes"),
        ({"eventTypes": None}, "eventTypes"),
        ({"eventTypes": None, "event_types": ["NO_SUCH"]}, "event_types"),
        ({"eventTypes": ["USER_ADDED", 7]}, "eventTypes"),
        ({"auth_header": "two excerpt"}, "auth_header"),
        ({"auth_header": None}, "auth_header"),
        ({"auth_header_value": ""}, "auth_header_value"),
        ({"auth_header_value": "two\nlines"}, "auth_header_value"),
    ],
)
def test_an_invalid_config_is_refused_in_the_providers_format(
    client: Client, changes: dict[str, Any], field: str
) -> None:
    remote_id = client.register()
    for answer in (
        client.call("POST", "", body_for(**changes)),
        client.call("PUT", f"/{remote_id}", body_for(**changes)),
    ):
        assert answer.status_code == 400
        assert answer.json()["message"].startswith(f"{field} ")
        assert set(answer.json()) == {"message", "code"}
    assert len(client.state()["remote"]) == 1
    assert client.call("POST", "", ["list"]).status_code == 400


def test_control_calls_accept_the_providers_and_our_field_names(client: Client) -> None:
    remote_id = client.register()
    for changes in (
        {"event_types": ["USER_ADDED"]},
        {"eventTypes": ["USER_TFA_ENABLED"]},
        {"callback_url": "https://new.example.test/"},
        {"auth_header_value": "other"},
    ):
        client.control(f"remote/{remote_id}", config=changes)
    shown = client.control(f"remote/{remote_id}", status="disabled")
    assert (shown["event_types"], shown["webhook_url"]) == (["USER_TFA_ENABLED"], "https://new.example.test/")
    assert (shown["auth_header_value"], shown["status"], shown["enabled"]) == ("other", "disabled", False)
    url = f"{client.sandbox.url}/_sandbox/{provider.slug}/remote/{remote_id}"
    refused: tuple[dict[str, object], ...] = (
        {"status": "paused"},
        {"config": {"event_types": []}},
        {"config": {"no_such": 1}},
    )
    for wrong in refused:
        answer = requests.post(url, json=wrong, timeout=10)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(("status", "config.event_types", "config.no_such"))
    assert client.state()["remote"][0]["event_types"] == ["USER_TFA_ENABLED"]


def test_every_event_type_has_the_common_fields_and_its_own(client: Client) -> None:
    with StubServer() as receiver:
        client.register(f"{receiver.url}/hooks/t")
        for name in EVENT_NAMES:
            client.control("emit", event_type=name, count=2)
        bodies = [call.json() for call in receiver.received]
    assert Counter(body["event_type"] for body in bodies) == dict.fromkeys(EVENT_NAMES, 2)
    assert all(set(body) > COMMON_FIELDS for body in bodies)
    assert all(body["reseller_code"] == "RX12" and body["company_name"] == "Lee IT" for body in bodies)
    assert len({body["transaction_timestamp"] for body in bodies}) == len(bodies)


def test_events_of_one_trial_or_invoice_are_consistent(client: Client) -> None:
    with StubServer() as receiver:
        client.register(f"{receiver.url}/hooks/t")
        for name in (
            "RESELLER_CREATED_CONNECT_TRIAL",
            "RESELLER_CONVERTED_CONNECT_TRIAL_TO_PAID",
            "RESELLER_UPSELL_INVOICE_GENERATED",
            "RESELLER_INVOICE_EDITED",
            "RESELLER_INVOICE_PAID",
        ):
            client.control("emit", event_type=name)
        began, ended, *invoices = (call.json() for call in receiver.received)
    assert began["trial_domain_name"] == ended["trial_domain_name"]
    assert len({body["invoice_number"] for body in invoices}) == 1
    assert invoices[1]["previous_amount"] == invoices[0]["amount"]
    assert invoices[2]["amount"] == invoices[1]["amount"] != invoices[0]["amount"]


def test_an_unknown_type_goes_to_every_webhook_and_a_known_one_to_subscribed_ones(client: Client) -> None:
    with StubServer() as receiver:
        client.register(f"{receiver.url}/hooks/t", eventTypes=["USER_ADDED"])
        assert client.control("emit", event_type="RESELLER_INVOICE_PAID")["deliveries"] == []
        assert len(client.control("emit", event_type="RESELLER_TIER_CHANGED")["deliveries"]) == 1
        (call,) = receiver.received
    assert call.json()["event_type"] == "RESELLER_TIER_CHANGED"
    assert call.header("X-Hook-Key") == SECRET


def test_repeated_failures_disable_the_webhook(client: Client) -> None:
    client.control("options", failures_until_disabled=2)
    with StubServer() as receiver:
        receiver.say(*[Scripted(status) for status in (500, 404, 204, 201, 503, 302)])
        remote_id = client.register(f"{receiver.url}/hooks/t")
        client.control("emit", count=2)  # each is tried three times
        eventually(lambda: len(client.state()["deliveries"]) == 6)
        assert set(Counter(call.body for call in receiver.received).values()) == {3}
        assert client.call("GET").json() == [{"webhook_id": remote_id, "status": "disabled"}]
        assert client.control("emit")["deliveries"] == []


@pytest.mark.slow
def test_the_stream_sends_every_event_type(client: Client) -> None:
    with StubServer() as receiver:
        receiver._server.socket.listen(128)  # room for all senders at once; else some connections wait for a second
        client.register(f"{receiver.url}/hooks/t")
        client.control("stream", per_minute=6000, login="spare")
        eventually(lambda: len(receiver.received) >= 40, seconds=10)
        client.control("stream", per_minute=0)
        received = [call.json()["event_type"] for call in receiver.received]
    assert set(received) == set(EVENT_NAMES)
