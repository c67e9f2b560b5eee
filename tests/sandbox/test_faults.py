"""Faults of the simulated API."""

from __future__ import annotations

import pytest
import requests

from tests.sandbox.client import Client


def test_a_status_fault_has_no_effect_and_ends_after_its_times(client: Client) -> None:
    client.control("faults", status=503, times=2, retry_after=4)
    for _ in range(2):
        response = client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
        assert (response.status_code, response.headers["Retry-After"]) == (503, "4")
        assert set(response.json()) == {"code", "message", "details"}
    assert client.call("GET", "/webhooks").json() == []


@pytest.mark.parametrize("value", ["inf", "9" * 5000])
def test_a_fault_sends_any_retry_after(client: Client, value: str) -> None:
    client.control("faults", status=429, retry_after=value)
    assert client.call("GET", "/webhooks").headers["Retry-After"] == value


@pytest.mark.parametrize(
    ("fault", "webhooks"), [({"timeout": 0.05}, 1), ({"drop": True}, 1), ({"drop": "before"}, 0)], ids=str
)
def test_a_call_without_a_response(client: Client, fault: dict[str, object], webhooks: int) -> None:
    client.control("faults", **fault)
    with pytest.raises(requests.ConnectionError):
        client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"})
    assert len(client.call("GET", "/webhooks").json()) == webhooks


def test_unusable_responses(client: Client) -> None:
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
