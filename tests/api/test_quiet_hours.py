"""The silence rules of a subscription in the API: `quiet_after` and `quiet_hours`."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from providers.models import HistoryEntry, ProviderAccount
from providers.times import iso_time
from subscriptions.models import Subscription
from tests.api.conftest import Api
from tests.harness.fixtures import CONFIG

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

HOURS = {"time_zone": "Europe/Berlin", "from": "22:00", "until": "06:00", "weekends": True}


def test_silence_rules_are_set_changed_and_removed(api: Api, path: str, active: Subscription) -> None:
    before = api.get(path)
    assert (before.json["quiet_after"], before.json["quiet_hours"]) == (None, None)
    generation = active.generation
    changed = api.patch(path, {"quiet_after": 7200, "quiet_hours": HOURS})
    assert (changed.status, changed.json["quiet_after"], changed.json["quiet_hours"]) == (200, 7200, HOURS)
    assert changed.headers["ETag"] != before.headers["ETag"]
    assert api.patch(path, {"quiet_after": 60 * 60}).json["quiet_hours"] == HOURS
    active.refresh_from_db()
    assert active.generation == generation  # the provider does not know the silence rules
    assert active.quiet_from is not None
    entry = HistoryEntry.objects.filter(action="changed").earliest("pk")
    assert entry.changes[0] == {"field": "quiet_after", "from": None, "to": 7200}
    gone = api.patch(path, {"quiet_after": None, "quiet_hours": None}).json
    assert (gone["quiet_after"], gone["quiet_hours"]) == (None, None)
    count = HistoryEntry.objects.count()
    api.patch(path, {"quiet_after": None})
    assert HistoryEntry.objects.count() == count


def test_silence_rules_at_creation(api: Api, account: ProviderAccount) -> None:
    body: dict[str, Any] = {"account": str(account.uid), "config": CONFIG, "managed": "manual"}
    created = api.post("/subscriptions/", {**body, "quiet_after": 900, "quiet_hours": {"weekends": True}})
    assert created.status == 201
    assert created.json["quiet_after"] == 900
    assert created.json["quiet_hours"] == {"time_zone": "UTC", "from": None, "until": None, "weekends": True}
    assert api.post("/subscriptions/", body).json["quiet_after"] is None


@pytest.mark.parametrize("value", [0, 299, 31622401, 1.5, "7200", "PT2H", True, []])
def test_an_invalid_quiet_after_is_refused(api: Api, path: str, value: object) -> None:
    response = api.patch(path, {"quiet_after": value})
    assert (response.status, set(response.fields())) == (400, {"quiet_after"})


@pytest.mark.parametrize(
    "value", [5, "22-06", {}, {"from": "22:00"}, {**HOURS, "time_zone": "Mars"}, {**HOURS, "x": 1}]
)
def test_invalid_quiet_hours_are_refused(api: Api, path: str, value: object) -> None:
    response = api.patch(path, {"quiet_hours": value})
    assert (response.status, response.fields()) == (400, {"quiet_hours": "invalid"})


def test_silence_results_are_read_only(api: Api, path: str, active: Subscription) -> None:
    now = timezone.now()
    Subscription.objects.filter(pk=active.pk).update(
        silent_since=now, silence_reason="Nothing is wrong.", quiet_suggestion=5400
    )
    data = api.get(path).json
    assert (data["silent_since"], data["silence_reason"], data["quiet_suggestion"]) == (
        iso_time(now),
        "Nothing is wrong.",
        5400,
    )
    for name in ("silent_since", "silence_reason", "quiet_suggestion"):
        assert api.patch(path, {name: None}).fields() == {name: "unknown"}
