"""Tests of parsing webhook requests whose bodies are odd or hostile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest
from tests.harness.distorted_responses import check_storable, distort
from tests.harness.inbound import inbound
from tests.harness.provider_contract.base import ContractBase

MAX_CPU_SECONDS = 5.0  # for the parsing of one request
HOSTILE_JSON: Mapping[str, Callable[[str], bytes]] = {
    "open lists": lambda field: b"[" * 10_000_000,
    "open objects": lambda field: b'{"a":' * 2_000_000,
    "deep": lambda field: b"[" * 500 + b"]" * 500,
    "many elements": lambda field: b"[" + b"{}," * 300_000 + b"{}]",
    "long number": lambda field: b'{"%s": ' % field.encode() + b"9" * 5_000_000 + b"}",
    "infinite number": lambda field: b'{"%s": 1e999}' % field.encode(),
}

ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
ODD_TEXT = st.sampled_from(
    ["\ud800", "\x00", "x" * 300, "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-12:00", "1767323045"]
)
ODD_NUMBER = st.sampled_from([10**400, 10**300, -(10**18), 1767323045, 1767323045000])


class HostileRequestTests(ContractBase):
    """Parsing of webhook requests with odd and hostile bodies."""

    def random_requests(self) -> st.SearchStrategy[InboundRequest]:
        """Return random requests: bytes, JSON of any kind, events with values of any kind, and fixtures with one."""
        scalars: st.SearchStrategy[object] = (
            st.none() | st.booleans() | st.integers() | st.floats() | ODD_NUMBER | ANY_TEXT | ODD_TEXT
        ) | st.sampled_from([item.name for item in self.provider.event_types])
        names = st.sampled_from(self.body_fields)
        json_value = st.recursive(
            scalars,
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names | ANY_TEXT, inner, max_size=8),
            max_leaves=30,
        )
        first, *others = self.body_fields
        event = st.fixed_dictionaries({first: scalars}, optional=dict.fromkeys(others, json_value))
        samples = [json.loads(path.read_bytes()) for path in self.payloads() if path.suffix == ".json"]
        distorted = st.sampled_from(samples).flatmap(distort)
        values = json_value | event | st.lists(event, max_size=4) | distorted
        return (st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode())).map(inbound)

    @pytest.mark.slow
    def test_parsing_raises_only_unreadable_request(self) -> None:
        @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
        @given(self.random_requests())
        def check(request: InboundRequest) -> None:
            with suppress(UnreadableRequest):
                parsed = self.provider.parse(request)
                check_storable(parsed)
                assert self.provider.parse(request) == parsed
                assert parsed.ping != bool(parsed.events or parsed.unreadable)

        check()

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", HOSTILE_JSON)
    def test_hostile_json_is_refused_in_bounded_time(self, kind: str) -> None:
        body = HOSTILE_JSON[kind](self.body_fields[0])
        started = time.thread_time()
        try:
            parsed = self.provider.parse(inbound(body))
        except UnreadableRequest:
            assert kind not in self.hostile_json_that_is_an_event
        else:
            check_storable(parsed)
            assert bool(parsed.events) == (kind in self.hostile_json_that_is_an_event)
        assert time.thread_time() - started < MAX_CPU_SECONDS

    @pytest.mark.slow
    def test_long_texts_are_truncated(self) -> None:
        long = "é" * 100_000
        first = self.body_fields[0]
        names = [item.name for item in self.provider.event_types if not item.wildcard]
        for value in (long, names[0]):
            fields = {**dict.fromkeys(self.body_fields, long), first: value, long: {long: long}}
            with suppress(UnreadableRequest):
                check_storable(self.provider.parse(inbound(json.dumps(fields).encode())))
