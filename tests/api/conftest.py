"""Fixtures: a client of the REST API with a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from config.models import ApiToken
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from subscriptions.reconciliation.reconciler import reconcile

PROBLEM = "application/problem+json"
UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class ApiResponse:
    """A response. `json` is None without a body."""

    status: int
    headers: dict[str, str]
    json: Any

    def fields(self) -> dict[str, str]:
        """Return the error code of each invalid field."""
        return {error["field"]: error["code"] for error in self.json["errors"]}


@dataclass
class Api:
    """A client of /api/v1. Checks that every response has a request ID, and that every error is a problem document."""

    token: str | None
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def call(self, method: str, path: str, body: object = None, **headers: str) -> ApiResponse:
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        content = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        target = path if path.startswith("http") else f"/api/v1{path}"
        raw = self.client.generic(method, target, headers=headers, **content)  # type: ignore[arg-type]
        response = ApiResponse(raw.status_code, dict(raw.headers), json.loads(raw.content) if raw.content else None)
        assert response.headers["X-Request-ID"]
        assert "Location" not in response.headers
        if response.status >= 400 and method != "HEAD":
            check_problem(response)
        return response

    def get(self, path: str, **headers: str) -> ApiResponse:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> ApiResponse:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: object, **headers: str) -> ApiResponse:
        return self.call("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> ApiResponse:
        return self.call("DELETE", path, **headers)


def check_problem(response: ApiResponse) -> None:
    assert response.headers["Content-Type"] == PROBLEM
    problem = response.json
    assert problem["status"] == response.status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem["type"] == f"urn:hookkeeper:problem:{problem['code']}"
    assert problem["title"]
    assert problem["detail"]


Issue = Callable[..., Api]


@pytest.fixture
def with_scopes(db: None) -> Issue:
    """Return a function that makes an Api whose token has the given scopes."""

    def issue(*scopes: str) -> Api:
        return Api(ApiToken.issue("limited", scopes)[1])

    return issue


@pytest.fixture
def api(db: None) -> Api:
    """Return an Api whose token has all scopes."""
    return Api(ApiToken.issue("ci")[1])


@pytest.fixture
def anonymous() -> Api:
    """Return an Api without a token."""
    return Api(None)


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    """Return a subscription that is registered in the sandbox."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    assert subscription.state == "active", subscription.state_reason
    return subscription


@pytest.fixture
def account_path(account: ProviderAccount) -> str:
    return f"/accounts/{account.uid}/"


@pytest.fixture
def path(active: Subscription) -> str:
    """Return the path of the active subscription."""
    return f"/subscriptions/{active.uid}/"


def check_access(
    path: str, method: str, *, anonymous: Api, wrong: Api, scope: str, wrong_method: str, api: Api, body: object = None
) -> None:
    """Check what all endpoints share: the responses without a token, without the scope, and to a wrong method."""
    refused = anonymous.call(method, path, body)
    assert (refused.status, refused.json["code"]) == (401, "not_authenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    forbidden = wrong.call(method, path, body)
    assert (forbidden.status, forbidden.json["code"]) == (403, "missing_scope")
    assert scope in forbidden.json["detail"]
    unknown = api.call(wrong_method, path)
    assert unknown.status == 405
    assert method in unknown.headers["Allow"]
    assert wrong_method not in unknown.headers["Allow"]
