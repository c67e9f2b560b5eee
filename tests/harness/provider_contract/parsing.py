"""Tests of parsing webhook requests, with the plug-in's fixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from providers.contract.errors import (
    UnreadableRequest,
)
from providers.contract.parsing import Parsed, ParsedEvent
from tests.harness.distorted_responses import check_storable
from tests.harness.inbound import inbound, normalized
from tests.harness.provider_contract.base import ContractBase

MAX_DEDUP_KEY = 255  # characters
ENCODINGS: Mapping[str, Callable[[str], bytes]] = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "two byte order marks": lambda text: b"\xef\xbb\xbf" * 2 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 without byte order mark": lambda text: text.encode("utf-16-be"),
}
FLAWS: Mapping[str, bytes] = {
    "not a number": b"NaN",
    "infinite": b"-Infinity",
    "too large": b"1e400",
    "long integer": b"7" * 5000,
    "longer than a double": b"-1" + b"0" * 309,
    "deep": b"[" * 200 + b"]" * 200,
    "very deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "not UTF-8": b'"\xc4"',
}


class ParsingTests(ContractBase):
    """Parsing of webhook requests."""

    def test_every_event_type_has_a_fixture(self, event_type: str) -> None:
        named = [path for path in self.payloads() if path.stem == self.fixture_name(event_type)]
        assert named, f"fixtures/{self.fixture_name(event_type)} is missing"
        events = [event for path in named for event in self.provider.parse(self.fixture_request(path)).events]
        declared = self.provider.event_type(event_type)
        assert declared
        assert [event.action for event in events if event.type == event_type] == [declared.action]

    def test_a_fixture_is_normalized_as_expected(self, payload: Path) -> None:
        expected = json.loads(payload.with_suffix(".expected.json").read_text("utf-8"))
        assert normalized(self.provider.parse(self.fixture_request(payload))) == expected

    def test_parsed_events_can_be_stored(self, payload: Path) -> None:
        for event in self.provider.parse(self.fixture_request(payload)).events:
            assert json.loads(json.dumps(event.data, allow_nan=False)) == event.data
            assert event.occurred_at is None or event.occurred_at.utcoffset() == timedelta()
            assert 0 < len(event.dedup_key) <= MAX_DEDUP_KEY

    def test_event_ids_are_present_as_declared(self, event_type: str) -> None:
        path = next(path for path in self.payloads() if path.stem == self.fixture_name(event_type))
        for event in self.provider.parse(self.fixture_request(path)).events:
            assert bool(event.provider_event_id) == self.provider.capabilities.has_event_id

    def test_dedup_keys_are_stable_and_distinct(self) -> None:
        def keys() -> list[str]:
            parsed = [self.provider.parse(self.fixture_request(path)) for path in self.payloads()]
            return [event.dedup_key for item in parsed for event in item.events]

        assert keys() == keys()
        assert len(keys()) == len(set(keys()))

    def test_an_empty_body_is_never_an_event(self) -> None:
        for method in self.provider.capabilities.methods:
            assert self.provider.parse(inbound(method=method)).events == ()

    def test_garbage_is_unreadable_and_raises_nothing_else(self) -> None:
        for body in (b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"a": NaN}', b"<xml/>", b"\x00" * 1000):
            with suppress(UnreadableRequest):
                assert self.provider.parse(inbound(body)).events == ()

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_the_encoding_of_json_makes_no_difference(self, encoding: str) -> None:
        requests = [request for request in map(self.fixture_request, self._json_payloads()) if request.body]
        assert requests
        for request in requests:
            other = replace(request, body=ENCODINGS[encoding](request.body.decode()))
            assert _without_dedup_keys(self.provider.parse(other)) == _without_dedup_keys(self.provider.parse(request))

    def test_a_body_of_byte_order_marks_is_a_ping(self) -> None:
        if not self.provider.capabilities.sends_files:
            for body in (b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2 + b"\r\n", b"\xff\xfe", b" \xfe\xff "):
                assert self.provider.parse(inbound(body)) == Parsed(ping=True)

    @pytest.mark.parametrize("flaw", FLAWS)
    def test_one_unreadable_element_does_not_affect_the_others(self, flaw: str) -> None:
        elements = [path.read_bytes() for path in self._json_payloads() if path.read_bytes().startswith(b"{")][:2]
        try:
            together = self.provider.parse(inbound(b"[%s, %s]" % (elements[0], elements[1])))
        except UnreadableRequest:
            return  # this provider does not send batches
        if len(together.events) < 2:
            return
        bad = elements[0].rstrip().removesuffix(b"}") + b', "flaw": {"in": [%s]}}' % FLAWS[flaw]
        parsed = self.provider.parse(inbound(b"[%s, %s, %s]" % (elements[0], bad, elements[1])))
        assert parsed.events == together.events
        assert [item.index for item in parsed.unreadable] == [1]
        check_storable(parsed)

    @pytest.mark.parametrize("odd", ["2026-01-02T23:59:60Z", "2026-01-02T24:00:00Z", "", "soon"])
    def test_an_unreadable_time_is_an_empty_time(self, odd: str) -> None:
        times: set[datetime | None] = set()
        for path in self._json_payloads():
            events = self._readable_events(path.read_bytes())
            if len(events) == 1 and events[0].occurred_at:
                for variant in _with_one_value(json.loads(path.read_bytes()), odd):
                    times |= {event.occurred_at for event in self._readable_events(json.dumps(variant).encode())}
        assert not times or None in times  # a provider may send no times

    def _json_payloads(self) -> list[Path]:
        return [path for path in self.payloads() if path.suffix == ".json"]

    def _readable_events(self, body: bytes) -> tuple[ParsedEvent, ...]:
        with suppress(UnreadableRequest):
            return self.provider.parse(inbound(body)).events
        return ()


def _with_one_value(value: object, other: object) -> Iterator[object]:
    """Yield the JSON value with each of its texts and numbers replaced in turn."""
    if isinstance(value, dict):
        for key, item in value.items():
            for variant in _with_one_value(item, other):
                yield {**value, key: variant}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for variant in _with_one_value(item, other):
                yield [*value[:index], variant, *value[index + 1 :]]
    else:
        yield other


def _without_dedup_keys(parsed: Parsed) -> Parsed:
    """Return the content without the deduplication keys, which may cover the bytes."""
    return replace(parsed, events=tuple(replace(event, dedup_key="") for event in parsed.events))
