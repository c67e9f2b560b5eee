"""Tests of parsing webhook requests, with the plug-in's fixtures."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from providers.contract.errors import (
    UnreadableRequest,
)
from tests.harness.inbound import inbound, normalized
from tests.harness.provider_contract.base import ContractBase

MAX_DEDUP_KEY = 255  # characters


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
