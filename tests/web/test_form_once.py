"""A form is carried out once, however often it is sent."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from config.models import ApiToken, SentForm
from config.web import form_once
from subscriptions.models import Channel

CHANNEL = "/admin/subscriptions/channel/add/?kind=email"
GROUP = "/admin/auth/group/add/"
TOKEN = "/admin/config/apitoken/add/"
KEY = re.compile(r'name="form_key" value="([\w-]+)"')


@pytest.fixture
def client(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    return client


def key_on(client: Client, url: str) -> str:
    found = KEY.search(client.get(url).content.decode())
    assert found, "the form has no key"
    return found[1]


def channel_data(**changes: str) -> dict[str, str]:
    data = {"name": "Ops", "recipients": "a@example.com", "min_severity": "warning", "every": "5", "remind_every": "0"}
    return {**data, **changes}


def test_the_same_form_twice_is_carried_out_once(client: Client) -> None:
    data = channel_data(form_key=key_on(client, CHANNEL))
    first, second = (client.post(CHANNEL, data) for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 302)
    assert first["Location"] == second["Location"]
    assert Channel.objects.count() == 1
    assert form_once.ALREADY_SENT in client.get(second["Location"]).content.decode()


@pytest.mark.parametrize("other", ["content", "key", "user"])
def test_another_form_is_carried_out(client: Client, other: str) -> None:
    data = channel_data(form_key=key_on(client, CHANNEL))
    client.post(CHANNEL, data)
    if other == "content":
        data["name"] = "Changed after going back"
    elif other == "key":
        data["form_key"] = key_on(client, CHANNEL)
    else:
        client.force_login(User.objects.create_superuser("ben"))
    client.post(CHANNEL, data)
    assert Channel.objects.count() == 2


def test_a_form_with_errors_can_be_sent_again(client: Client) -> None:
    data = channel_data(form_key=key_on(client, CHANNEL), every="x")
    assert client.post(CHANNEL, data).status_code == 200
    assert not SentForm.objects.exists()
    assert client.post(CHANNEL, data).status_code == 200


def test_a_form_whose_view_fails_can_be_sent_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    data = channel_data(form_key=key_on(client, CHANNEL))

    def fail(**_: object) -> Channel:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("subscriptions.notifications.channels.add", fail)
        client.raise_request_exception = False
        assert client.post(CHANNEL, data).status_code == 500
    assert client.post(CHANNEL, data).status_code == 302
    assert Channel.objects.count() == 1


def test_a_token_is_created_once_although_its_response_is_a_page(client: Client) -> None:
    data = {"name": "importer", "scopes": "events:read", "form_key": key_on(client, TOKEN)}
    assert "hkt_" in client.post(TOKEN, data).content.decode()
    again = client.post(TOKEN, data)
    assert again["Location"] == f"/admin/config/apitoken/{ApiToken.objects.get().pk}/change/"


def test_pages_of_the_framework_have_a_key_too(client: Client) -> None:
    data = {"name": "Operators", "form_key": key_on(client, GROUP)}
    assert [client.post(GROUP, data).status_code for _ in range(2)] == [302, 302]
    assert Group.objects.count() == 1


def test_a_repetition_waits_for_the_first_and_says_if_its_result_is_unknown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_once, "WAIT_SECONDS", -1.0)
    monkeypatch.setattr(SentForm, "claim", lambda digest: SentForm.objects.create(digest=digest) is None)
    response = client.post(CHANNEL, channel_data(form_key=key_on(client, CHANNEL)))
    assert response["Location"] == CHANNEL
    assert form_once.UNKNOWN_RESULT in client.get(CHANNEL).content.decode()
    assert not Channel.objects.exists()


def test_old_forms_are_forgotten(db: None) -> None:
    assert SentForm.claim("a")
    assert not SentForm.claim("a")
    SentForm.objects.update(sent_at=timezone.now() - timedelta(days=2))
    assert SentForm.claim("b")
    assert SentForm.objects.get().digest == "b"
