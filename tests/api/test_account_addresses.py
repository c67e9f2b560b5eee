"""Stored credentials are never sent to a new address, at any provider."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract.errors import InvalidInput
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox, find_simulators
from subscriptions.lifecycle import accounts
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

SLUGS = sorted(kind.slug for kind in find_simulators())
EVIL = "https://evil.example.com"
ADDRESSES = {
    "egnyte-connect": [{"base_url": EVIL}, {"base_url": None, "domain": "evil"}],
    "egnyte-msp": [{"base_url": EVIL}, {"base_url": None, "domain": "evil.egnyte.com"}],
    "entrust": [{"base_url": EVIL}, {"base_url": None, "hostname": "evil.example.com"}],
    "files-com": [{"base_url": EVIL}, {"base_url": None, "subdomain": "evil"}],
    "sidedrawer": [{"base_url": EVIL}, {"login_url": EVIL}, {"base_url": None, "environment": "sandbox"}],
}
CASES = [(slug, change) for slug in SLUGS for change in ADDRESSES[slug]]


def add(sandbox: Sandbox, slug: str) -> ProviderAccount:
    login = sandbox.logins(slug)[0]
    return accounts.add_account(
        provider=slug, name="Acme", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )


def changed(account: ProviderAccount, change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**account.settings, **change}.items() if value is not None}


@pytest.mark.parametrize(("slug", "change"), CASES)
def test_a_new_address_requires_the_credentials(sandbox: Sandbox, api: Api, slug: str, change: dict[str, Any]) -> None:
    account = add(sandbox, slug)
    path, settings = f"/accounts/{account.uid}/", changed(account, change)
    response = api.call("PATCH", path, {"settings": settings})
    assert response.status == 400
    assert response.fields() == {f"credentials.{name}": "required" for name in account.credentials}
    with pytest.raises(InvalidInput):
        accounts.change_account(account, by="api:ci", settings=settings)
    account.refresh_from_db()
    assert changed(account, {}) == account.settings != settings
    assert api.call("PATCH", path, {"settings": settings, "credentials": account.credentials}).status == 200


@pytest.mark.parametrize("slug", SLUGS)
def test_other_settings_do_not_require_the_credentials(sandbox: Sandbox, api: Api, slug: str) -> None:
    account = add(sandbox, slug)
    response = api.call("PATCH", f"/accounts/{account.uid}/", {"settings": account.settings, "name": "Other"})
    assert response.status == 200


def test_entering_some_of_the_credentials_is_not_enough(sandbox: Sandbox, api: Api) -> None:
    account = add(sandbox, "entrust")
    body = {
        "settings": changed(account, {"base_url": EVIL}),
        "credentials": {"application_id": "ed97b9a0-8d11-4a4b-9f5c-8c2f0a3f6c11"},
    }
    response = api.call("PATCH", f"/accounts/{account.uid}/", body)
    assert response.fields() == {"credentials.shared_secret": "required"}


def test_an_optional_stored_secret_is_not_taken_along_either(sandbox: Sandbox, api: Api) -> None:
    account = add(sandbox, "files-com")
    accounts.change_account(account, by="staff:ann", credentials={"verification_token": "tok-5f1c2d9e"})
    body: dict[str, Any] = {
        "settings": changed(account, {"base_url": EVIL}),
        "credentials": {"api_key": account.credentials["api_key"]},
    }
    path = f"/accounts/{account.uid}/"
    assert api.call("PATCH", path, body).fields() == {"credentials.verification_token": "required"}
    body["credentials"]["verification_token"] = None
    assert api.call("PATCH", path, body).status == 200


def test_the_same_address_written_differently_is_no_change(sandbox: Sandbox, api: Api) -> None:
    account = add(sandbox, "egnyte-connect")
    accounts.change_account(account, by="staff:ann", settings={"domain": "acme"}, credentials=dict(account.credentials))
    path = f"/accounts/{account.uid}/"
    assert api.call("PATCH", path, {"settings": {"domain": "acme.egnyte.com"}}).status == 200
