"""The forms of every provider can be shown, and submitting one without edits changes nothing."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from providers.contract.registry import all_providers
from providers.models import ProviderAccount
from providers.sandbox.server import find_simulators
from providers.sandbox.tenant import LoginName
from providers.sandbox.webhook_sender import WebhookSender
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Subscription
from subscriptions.reconciliation import reconciler

SIMULATORS = {kind.slug: kind for kind in find_simulators()}


class Fields(HTMLParser):
    """Collects the form data that a browser would send for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.form_data: list[tuple[str, str]] = []
        self.open_field: tuple[str, str] | None = None  # the select or textarea that is open
        self.chosen: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        name = attributes.get("name", "")
        if tag == "input" and name:
            is_checkable = attributes.get("type") in ("checkbox", "radio")
            if not is_checkable or "checked" in attributes:
                self.form_data.append((name, attributes.get("value", "on" if is_checkable else "")))
        elif tag in ("select", "textarea"):
            self.open_field, self.chosen = (tag, name), None
        elif tag == "option" and ("selected" in attributes or self.chosen is None):
            self.chosen = attributes.get("value", "")

    def handle_data(self, data: str) -> None:
        if self.open_field and self.open_field[0] == "textarea":
            self.chosen = (self.chosen or "") + data

    def handle_endtag(self, tag: str) -> None:
        if self.open_field and tag == self.open_field[0]:
            self.form_data.append((self.open_field[1], self.chosen or ""))
            self.open_field = None


def form_data_of(client: Client, url: str) -> dict[str, list[str]]:
    page = client.get(url)
    assert page.status_code == 200
    parser = Fields()
    parser.feed(page.content.decode())
    names = dict.fromkeys(name for name, _ in parser.form_data)
    return {name: [value for other, value in parser.form_data if other == name] for name in names}


@pytest.fixture(params=sorted(SIMULATORS))
def subscription(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> Subscription:
    """Create the demo subscription of each provider, without a server: these tests make no calls."""
    monkeypatch.setattr(reconciler, "reconcile_soon", lambda row, **_: row.refresh_from_db())
    monkeypatch.setattr("providers.accounts.session.check", lambda account, **_: None)
    simulator = SIMULATORS[request.param]("http://127.0.0.1:1", sender=WebhookSender({}))
    login = simulator.tenants[LoginName.DEMO].account
    account = accounts.add_account(
        provider=simulator.slug, name="Demo", settings=login.settings, credentials=login.credentials, by="demo"
    )
    config: Any = simulator.demo_config
    simulator.close()
    return desired_state.subscribe(account, config=config, by="demo", name="Everything")


def test_every_provider_has_a_simulator() -> None:
    assert set(SIMULATORS) == set(all_providers())


@pytest.mark.slow
def test_saving_a_subscription_without_edits_changes_nothing(superuser: Client, subscription: Subscription) -> None:
    url = reverse("admin:subscriptions_subscription_edit", args=[subscription.pk])
    response = superuser.post(url, form_data_of(superuser, url))
    assert response.status_code == 302, response.context["form"].errors
    changed = Subscription.objects.get(pk=subscription.pk)
    assert changed.generation == subscription.generation + 1
    assert changed.config == subscription.config
    assert (changed.name, changed.enabled, changed.auto_renew) == ("Everything", True, True)


def test_saving_an_account_without_edits_changes_nothing(superuser: Client, subscription: Subscription) -> None:
    account = subscription.account
    plugin = account.plugin
    before = plugin.settings_model.model_validate(account.settings)
    url = reverse("admin:providers_provideraccount_edit", args=[account.pk])
    response = superuser.post(url, form_data_of(superuser, url))
    assert response.status_code == 302, response.context["form"].errors
    changed = ProviderAccount.objects.get(pk=account.pk)
    assert plugin.settings_model.model_validate(changed.settings) == before
    assert changed.credentials == account.credentials


def test_a_new_address_requires_the_credentials(superuser: Client, subscription: Subscription) -> None:
    account = subscription.account
    url = reverse("admin:providers_provideraccount_edit", args=[account.pk])
    form = {**form_data_of(superuser, url), "settings.base_url": "https://evil.example.com"}
    errors = superuser.post(url, form).context["form"].errors
    assert set(errors) == {f"credentials.{name}" for name in account.credentials}
    entered = {f"credentials.{name}": value for name, value in account.credentials.items()}
    assert superuser.post(url, {**form, **entered}).status_code == 302
    account.refresh_from_db()
    assert account.settings["base_url"] == "https://evil.example.com"


@pytest.mark.slow
def test_empty_forms_can_be_shown(superuser: Client, subscription: Subscription) -> None:
    account = subscription.account
    for url in (
        reverse("admin:providers_provideraccount_add") + f"?provider={account.provider}",
        reverse("admin:subscriptions_subscription_add") + f"?account={account.pk}",
    ):
        assert superuser.post(url, {"name": ""}).context["form"].errors
        assert superuser.get(url).status_code == 200
