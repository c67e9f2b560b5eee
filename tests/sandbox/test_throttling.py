"""Rate limits of the simulated API."""

from __future__ import annotations

from providers.sandbox.call_budget import CallBudget, OverBudget
from tests.sandbox.client import Client


def test_a_third_call_in_a_second_gets_403_with_the_mashery_header(client: Client) -> None:
    client.control("options", calls_per_second=2)
    assert [client.call("GET", "/webhooks").status_code for _ in range(3)] == [200, 200, 403]
    response = client.call("GET", "/webhooks")
    assert response.headers["X-Mashery-Error-Code"] == "ERR_403_DEVELOPER_OVER_QPS"
    assert response.headers["Retry-After"] == "1"
    client.control("clock", advance_seconds=0.6)
    assert client.call("GET", "/webhooks").status_code == 200


def test_throttling_with_429_counts_per_token(client: Client, demo: Client) -> None:
    client.control("options", throttle_style="429", calls_per_second=2)
    responses = [client.call("GET", "/webhooks") for _ in range(3)]
    assert responses[2].status_code == 429
    assert responses[2].headers["Retry-After"] == "1"
    assert demo.call("GET", "/webhooks").status_code == 200


def test_a_throttled_call_has_no_effect(client: Client) -> None:
    client.control("options", calls_per_second=1)
    responses = [client.call("POST", "/webhooks", {"url": "https://hooks.example.test/t"}) for _ in range(2)]
    assert [response.status_code for response in responses] == [201, 403]
    assert len(client.state()["remote"]) == 1


def test_quota_headers_are_sent_and_the_day_quota_is_optional(client: Client) -> None:
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


def test_calls_spaced_at_the_limit_pass_despite_jitter() -> None:
    budget = CallBudget()
    assert [budget.take(per_second=2, per_day=None) for _ in range(3)] == [None, None, OverBudget.PER_SECOND]
    for jitter in (-0.02, 0.02, -0.04, 0.04):
        budget.age(0.5 + jitter)
        assert budget.take(per_second=2, per_day=None) is None
    budget.age(0.4)
    assert budget.take(per_second=2, per_day=None) is OverBudget.PER_SECOND
