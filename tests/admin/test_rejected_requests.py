"""The dashboard's repair of rejected requests, and the question before an allow list blocks known senders."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from events.models import Event, WebhookRequest
from subscriptions.lifecycle import ip_allowlist
from subscriptions.models import Problem, Subscription
from subscriptions.problems import detector
from tests.admin.conftest import log_in_staff
from tests.admin.test_silence import FORM_DATA, page_of
from tests.harness.fake_provider import body_of, store_request

pytestmark = pytest.mark.django_db

REQUESTS = "/admin/events/webhookrequest/"


def block(*requests: WebhookRequest, address: str = "203.0.113.7") -> None:
    keys = [request.pk for request in requests]
    WebhookRequest.objects.filter(pk__in=keys).update(
        outcome="rejected",
        remote_addr=address,
        headers=[["X-Secret", "***"]],
        sealed_headers={"0": "the-shared-secret"},
        reason="Its address is not in the allowed networks.",
    )


def body(number: int) -> bytes:
    return body_of({"id": number, "type": "made"})


def test_the_button_of_the_problem_repairs_it(superuser: Client, hook: Subscription) -> None:
    Subscription.objects.filter(pk=hook.pk).update(allowed_networks=["192.0.2.0/24"])
    block(*(store_request(hook, body(number)) for number in range(3)))
    detector.detect()
    problem = Problem.objects.get(kind="blocked_requests")
    page = superuser.get(f"/admin/subscriptions/problem/{problem.pk}/change/").content.decode()
    allow = f"{REQUESTS}allow/{hook.pk}/"
    assert "Allow 203.0.113.7 and release 3 requests" in page
    assert f'href="{allow}"' in page
    form = " ".join(superuser.get(allow).content.decode().split())
    assert "Allow 203.0.113.7 and release 3 requests" in form
    done = superuser.post(allow, {"address": "203.0.113.7"}, follow=True).content.decode()
    assert "3 requests released." in done
    assert Event.objects.count() == 3
    hook.refresh_from_db()
    assert hook.allowed_networks == ["192.0.2.0/24", "203.0.113.7/32"]
    detector.detect()
    assert not Problem.objects.active().exists()


def test_a_subscription_with_open_problems_is_not_shown_as_fine(viewer: Client, hook: Subscription) -> None:
    Subscription.objects.filter(pk=hook.pk).update(state="active", state_reason="Registered and enabled.")
    page = f"/admin/subscriptions/subscription/{hook.pk}/change/"
    assert '<div class="hk-note hk-good" id="state">' in viewer.get(page).content.decode()
    store_request(hook, b"{}", headers=())
    detector.detect()
    assert '<div class="hk-note hk-warn" id="state">' in viewer.get(page).content.decode()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    detector.detect()
    assert '<div class="hk-note hk-good" id="state">' in viewer.get(page).content.decode()


def test_with_several_addresses_a_person_chooses(superuser: Client, hook: Subscription) -> None:
    Subscription.objects.filter(pk=hook.pk).update(allowed_networks=["192.0.2.0/24"])
    block(store_request(hook, body(1)))
    block(store_request(hook, body(2)), address="203.0.113.8")
    detector.detect()
    problem = Problem.objects.get(kind="blocked_requests")
    allow = f"{REQUESTS}allow/{hook.pk}/"
    assert (
        "Allow 2 addresses and release 2 requests"
        in superuser.get(f"/admin/subscriptions/problem/{problem.pk}/change/").content.decode()
    )
    assert " checked" not in superuser.get(allow).content.decode()
    for addresses in ([], ["198.51.100.1"]):
        superuser.post(allow, {"address": addresses})
    hook.refresh_from_db()
    assert hook.allowed_networks == ["192.0.2.0/24"], "nothing, and an address that sent nothing"
    superuser.post(allow, {"address": ["203.0.113.8"]})
    assert list(Event.objects.values_list("dedup_key", flat=True)) == ["2"]


def test_a_rejected_request_is_accepted_or_dismissed_on_its_page(superuser: Client, hook: Subscription) -> None:
    first, second = (store_request(hook, body(number), headers=()) for number in (1, 2))
    page = superuser.get(f"{REQUESTS}{first.pk}/change/").content.decode()
    assert "Accept after reading it" in page
    assert "Accepted on your word" in superuser.post(f"{REQUESTS}{first.pk}/accept/", follow=True).content.decode()
    dismissed = superuser.post(f"{REQUESTS}{second.pk}/dismiss/", follow=True).content.decode()
    assert "it is not part of a problem" in dismissed
    assert "Dismiss</button>" not in dismissed
    assert Event.objects.count() == 1


@pytest.mark.parametrize("page", ["{request}/accept/", "{request}/dismiss/", "allow/{hook}/"])
def test_viewers_settle_nothing(viewer: Client, hook: Subscription, page: str) -> None:
    request = store_request(hook, body(1), headers=())
    url = REQUESTS + page.format(request=request.pk, hook=hook.pk)
    assert viewer.post(url, {"address": "192.0.2.1"}).status_code == 403
    shown = viewer.get(f"{REQUESTS}{request.pk}/change/").content.decode()
    assert "Accept after reading it" not in shown


def test_allowing_an_address_needs_the_permission_to_change_subscriptions(hook: Subscription) -> None:
    client = log_in_staff("rep", "events.view_webhookrequest", "events.change_webhookrequest")
    assert client.post(f"{REQUESTS}allow/{hook.pk}/", {"address": "192.0.2.1"}).status_code == 403


@pytest.mark.slow
@pytest.mark.usefixtures("receiver_answers")
def test_a_list_that_blocks_known_senders_is_saved_only_when_confirmed(
    superuser: Client, subscription: Subscription
) -> None:
    for _ in range(3):
        store_request(subscription, b"{}")
    WebhookRequest.objects.update(outcome="processed", remote_addr="203.0.113.7")
    edit = page_of("edit", subscription)
    data = {**FORM_DATA, "allowed_networks": "192.0.2.0/24"}
    assert "Save it anyway" not in superuser.get(edit).content.decode()
    shown = html.unescape(superuser.post(edit, data).content.decode())
    assert "would have refused 3 of the 3 requests" in shown
    assert "3 from 203.0.113.7" in shown
    assert "Save it anyway" in shown
    subscription.refresh_from_db()
    assert subscription.allowed_networks == []
    superuser.post(edit, {**data, "block_senders": "on"})
    subscription.refresh_from_db()
    assert subscription.allowed_networks == ["192.0.2.0/24"]


def test_only_accepted_senders_of_the_last_day_are_known(hook: Subscription) -> None:
    old = store_request(hook, body(1), received_at=timezone.now() - timedelta(hours=25))
    stranger = store_request(hook, body(2), headers=())
    WebhookRequest.objects.filter(pk__in=[old.pk, stranger.pk]).update(remote_addr="203.0.113.7")
    store_request(hook, body(3))  # from 192.0.2.1
    ip_allowlist.check_senders(hook, ["192.0.2.0/24"])
    ip_allowlist.check_senders(hook, [])
    for number in range(7):
        request = store_request(hook, body(10 + number))
        WebhookRequest.objects.filter(pk=request.pk).update(remote_addr=f"198.51.100.{number}")
    with pytest.raises(ip_allowlist.WouldBlockSenders, match=r"7 of the 8 .*the others from 2 more addresses"):
        ip_allowlist.check_senders(hook, ["192.0.2.0/24"])
