"""One element of a provider's batch that cannot be read: the others become events, and the request is quarantined."""

from __future__ import annotations

import json

import pytest

from events.models import Event, Outcome
from events.processing import normalize, reprocess
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from tests.harness.fake_provider import fresh, store_request

pytestmark = pytest.mark.django_db

ELEMENTS = {
    "egnyte-connect": '{"eventId": "%s", "eventType": "fs:add_file", "domain": "acme", "n": %s}',
    "egnyte-msp": '{"event_type": "USER_ADDED", "transaction_timestamp": "2026-01-02T03:04:05Z", "id": "%s", "n": %s}',
    "sidedrawer": '{"eventId": "%s", "resource": "sidedrawer/1/record", "modificationType": "created", "n": %s}',
}


def receive(hook: Subscription, slug: str, body: bytes) -> tuple[str, str]:
    """Store and normalize a body at a provider. Return the outcome and the reason."""
    request = store_request(hook, body)
    ProviderAccount.objects.update(provider=slug)
    normalize.normalize_pending()
    return fresh(request).outcome, fresh(request).reason


@pytest.mark.parametrize("slug", ELEMENTS)
@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("NaN", "NaN is not a JSON number."),
        ("1e400", "A number is too large."),
        ("7" * 5000, "A number is too large."),
        ("[" * 2000 + "]" * 2000, "It is nested too deeply."),
        ('"\udcff"', "It is not UTF-8."),
    ],
    ids=["nan", "1e400", "integer", "deep", "encoding"],
)
def test_the_other_elements_become_events(hook: Subscription, slug: str, flaw: str, reason: str) -> None:
    elements = [ELEMENTS[slug] % (f"e{index}", value) for index, value in enumerate(("1", flaw, "3"))]
    body = f"[{', '.join(elements)}]".encode("utf-8", "surrogateescape")
    outcome, text = receive(hook, slug, body)
    assert (outcome, text) == (Outcome.QUARANTINED, f"1 of 3 elements cannot be parsed. Element 1: {reason}")
    assert [event.data["n"] for event in Event.objects.order_by("id")] == [1, 3]
    reprocess.reprocess_request(hook.webhook_requests.get())
    assert list(Event.objects.values_list("duplicates", flat=True)) == [0, 0]


@pytest.mark.parametrize("time", ["2026-01-02T23:59:60Z", "2026-01-02T24:00:00Z", "soon", 7.5e300, None])
def test_an_unreadable_time_is_empty_and_quarantines_nothing(hook: Subscription, time: object) -> None:
    element = {
        "event_type": "RESELLER_LINK_NFR_MANUALLY",
        **dict.fromkeys(("reseller_code", "first_name", "last_name", "email", "company_name"), "x"),
        **dict.fromkeys(("event_created_by", "nfr_domain_name", "nfr_plan"), "x"),
        "is_event_by_staff_user": False,
        "power_users": 1,
        "storage": 1,
        "transaction_timestamp": time,
    }
    assert receive(hook, "egnyte-msp", json.dumps(element).encode()) == (Outcome.PROCESSED, "")
    assert Event.objects.get().occurred_at is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("slug", [*ELEMENTS, "entrust"])
def test_other_encodings_become_events(hook: Subscription, slug: str, encoding: str) -> None:
    text = "\ufeff" + ELEMENTS.get(slug, '{"id": "%s", "type": "user.created", "n": %s}') % ("Ä", 1)
    assert receive(hook, slug, text.encode(encoding)) == (Outcome.PROCESSED, "")
    assert "Ä" in json.dumps(Event.objects.get().data, ensure_ascii=False)
