"""SideDrawer: events derived from notifications."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from providers.contract.capabilities import Action
from providers.contract.errors import (
    UnreadableRequest,
)
from providers.contract.parsing import Parsed
from providers.sidedrawer import provider
from providers.sidedrawer.tests.samples import (
    event,
    parse,
)
from tests.harness.distorted_responses import check_storable
from tests.harness.inbound import RECEIVED_AT, inbound


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b'{"events": []}', b"\xef\xbb\xbf[]"])
def test_empty_bodies_are_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_a_body_without_objects_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest, match="neither an object nor a list"):
        parse(value)


@pytest.mark.parametrize(
    ("word", "modification"),
    [
        ("Create", "create"),
        ("CREATED", "create"),
        ("record.created", "create"),
        ("add", "create"),
        ("Modified", "update"),
        ("removed", "delete"),
        ("SIDEDRAWER_RECORD_DELETED", "delete"),
        ("archive", "archive"),
        ("Moved to trash", "moved-to-trash"),
        ("?!", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
        ("x" * 999, "x" * 40),
    ],
)
def test_the_modification_is_derived(word: object, modification: str) -> None:
    parsed = parse(event(modificationType=word)).events[0]
    assert parsed.type == f"record.{modification}"
    assert (parsed.action is Action.OTHER) == (modification not in ("create", "update", "delete"))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"resource": "record"}, "record"),
        ({"entityType": "PlanRequest"}, "plan-request"),
        ({"entity": "plan_item"}, "plan-item"),
        ({"objectType": "Folder"}, "record"),
        ({"kind": "Files"}, "file"),
        ({"entity": "network", "sidedrawerId": "d"}, "sidedrawer-network"),
        ({"entity": "network"}, "network"),
        ({"type": "license.updated"}, "license"),
        ({"sidedrawerId": "d", "recordId": "r"}, "record"),
        ({"data": {"planItemId": "i", "planRequestId": "p"}}, "plan-item"),
        ({"data": {"resource": "tenant/t/sidedrawer/d/inbox/i"}}, "inbox"),
        ({"resource": "elsewhere/1/record/2"}, "unknown"),
        ({"resource": "tenant"}, "unknown"),
    ],
)
def test_the_kind_is_derived(fields: dict[str, object], kind: str) -> None:
    parsed = parse({"modificationType": "update", **fields}).events[0]
    assert parsed.type == f"{kind}.update"
    assert (parsed.action is Action.OTHER) == (kind == "unknown")


def test_the_data_are_the_element_as_sent() -> None:
    element = event(data={"name": "x"}, extra=[1, {"b": None}])
    assert parse([element]).events[0].data == element


def test_the_dedup_key_depends_on_content_and_day() -> None:
    def key(received_at: datetime = RECEIVED_AT, **changes: Any) -> str:
        request = inbound(json.dumps(event(**changes)).encode())
        return provider.parse(replace(request, received_at=received_at)).events[0].dedup_key

    later = RECEIVED_AT + timedelta(days=3)
    assert key() == key() == key(later) == key(webhookId="old") == key(webhookId="new")
    assert key() != key(modificationDateTime="2026-01-02T03:04:06Z")
    timeless: dict[str, Any] = {"modificationDateTime": None}
    assert key(**timeless) == key(RECEIVED_AT + timedelta(minutes=10), **timeless)
    assert key(**timeless) != key(later, **timeless)
    before, after = (datetime(2026, 1, 2, 3, 59, 59, tzinfo=UTC), datetime(2026, 1, 2, 4, 0, 4, tzinfo=UTC))
    assert key(before, **timeless) == key(after, **timeless)
    assert key(before, **timeless) != key(before + timedelta(days=1), **timeless)
    assert key(**timeless, eventId="e1") == key(later, **timeless, eventId="e1")


INVALID_TIMES: tuple[object, ...] = (
    None, True, 0, -5, "soon", 10**300, 1e300, [], "9" * 60, "0001-01-01T00:00:00+14:00",
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05-03:00", datetime(2026, 1, 2, 6, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in INVALID_TIMES),
    ],
)
def test_event_times_are_parsed(value: object, expected: datetime | None) -> None:
    assert parse(event(modificationDateTime=value)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("fields", "actor"),
    [
        ({"openId": "auth0|1"}, "auth0|1"),
        ({"user": {"email": "a@b.test", "openId": "auth0|1"}}, "a@b.test"),
        ({"openId": "", "modifiedBy": "ann"}, "ann"),
        ({"data": {"openId": "auth0|of-the-thing"}}, None),
        ({"openId": 7, "user": []}, None),
        ({"openId": "a\0\ud800" + "x" * 999}, "a\ufffd\ufffd" + "x" * 252),
    ],
)
def test_the_actor_is_derived(fields: dict[str, object], actor: str | None) -> None:
    assert parse(event(**fields)).events[0].actor == actor


@pytest.mark.parametrize(
    ("fields", "resource"),
    [
        ({"resource": "/tenant/t/sidedrawer/"}, "tenant/t/sidedrawer"),
        ({"resource": "record", "data": {"fileName": "a.pdf", "id": "1"}}, "a.pdf"),
        ({"resource": None, "name": "x"}, "x"),
        ({"resource": "/" + "x/" * 5000}, "x/" * 1000),
        ({"resource": 7}, None),
    ],
)
def test_the_resource_is_derived(fields: dict[str, object], resource: str | None) -> None:
    parsed = parse(event(**fields)).events[0].resource
    assert parsed == (resource.strip() if resource else None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"A" * 10_000_000,
        b"A." * 5_000_000,
        b" A" * 5_000_000,
        b"\xff" * 10_000_000,
    ],
    ids=["base64", "parts", "spaces", "binary"],
)
def test_bodies_that_resemble_encrypted_ones_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(UnreadableRequest):
        provider.parse(inbound(body))
    assert time.thread_time() - started < 5


@pytest.mark.slow
def test_long_values_are_truncated() -> None:
    long = "é/" * 500_000
    parsed = parse(
        dict.fromkeys(("resource", "modificationType", "event", "type", "user"), long)
        | {"data": {"name": long, long: {long: long}}}
    )
    check_storable(parsed)
    assert len(parsed.events[0].resource or "") == 2000
