"""Names without line breaks, control characters and invisible characters, everywhere where one is entered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from config.models import ApiToken
from providers.contract.errors import InvalidInput
from providers.models import ProviderAccount
from providers.names import is_visible, single_line, validate_name
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Channel, ChannelKind, Subscription
from subscriptions.notifications import channels
from tests.api.conftest import Api
from tests.harness.fixtures import CONFIG

LINE_BREAKS = ["a\nb", "a\r\nBcc: x@example.com", "a\u2028b"]
INVISIBLE = ["a\u200bb", "\u202eevil", "a\u2066b", "a\ufeffb", "a\tb", "a\x1bb", "\u3164"]
SOME = [*LINE_BREAKS[:2], *INVISIBLE[:2]]


@pytest.mark.parametrize("name", [*LINE_BREAKS, *INVISIBLE])
def test_unusual_characters_are_refused(name: str) -> None:
    assert not is_visible(name)
    with pytest.raises(ValidationError):
        validate_name(name)
    assert is_visible(single_line(name))


@pytest.mark.parametrize(
    "name", ["Acme", "B\u00fcro \u2013 K\u00f6ln (\u6771\u4eac)", "\u05e2\u05d1\u05e8", "a\u0301", "\U0001f389"]
)
def test_letters_of_every_script_are_accepted(name: str) -> None:
    validate_name(name)
    assert single_line(name) == name


@pytest.mark.django_db
@pytest.mark.parametrize("name", SOME)
def test_every_function_that_takes_a_name_refuses_it(
    account: ProviderAccount, subscription: Subscription, name: str
) -> None:
    mail: dict[str, Any] = {"kind": ChannelKind.EMAIL, "recipients": ["ops@example.com"]}
    channel = channels.add(by="staff:ann", name="Ops", **mail)
    calls: list[Callable[[], object]] = [
        lambda: accounts.change_account(account, by="staff:ann", name=name),
        lambda: desired_state.change(subscription, by="staff:ann", name=name),
        lambda: desired_state.subscribe(account, by="staff:ann", name=name, config=CONFIG),
        lambda: channels.add(by="staff:ann", name=name, **mail),
        lambda: channels.change(channel, by="staff:ann", name=name),
    ]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            call()
        assert [error.field for error in caught.value.errors] == ["name"]
    with pytest.raises(CommandError):
        call_command("create_api_token", f"x{name}x")
    assert set(Channel.objects.values_list("name", flat=True)) == {"Ops"}


@pytest.mark.django_db
@pytest.mark.parametrize("name", SOME)
def test_api_and_dashboard_show_the_error_at_the_field(
    account: ProviderAccount, subscription: Subscription, admin_client: Client, name: str
) -> None:
    api = Api(ApiToken.issue("ci")[1])
    for path in (f"/accounts/{account.uid}/", f"/subscriptions/{subscription.uid}/"):
        response = api.patch(path, {"name": f"x{name}x"})
        assert (response.status, response.fields()) == (400, {"name": "invalid"})
    page = admin_client.post(f"/admin/providers/provideraccount/{account.pk}/edit/", {"name": f"x{name}x"})
    assert page.context["form"].errors["name"]
    page = admin_client.post("/admin/config/apitoken/add/", {"name": f"x{name}x", "scopes": ["events:read"]})
    assert page.context["form"].errors["name"]
