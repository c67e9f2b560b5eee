"""Real responses of a provider's API with one odd part, for tests of the code that reads responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import requests
from hypothesis import strategies as st

from providers.contract.address_guard import AddressGuard
from providers.contract.base import AnyProvider, Identity, Registration, RemoteSubscription, TestResult
from providers.contract.errors import ProviderError
from providers.contract.http import Http
from providers.contract.parsing import Parsed
from providers.contract.responses import ProviderResponse
from providers.contract.session import MemoryTokens, ProviderSession

MAX_REMOTE_ID = 200
MAX_STATUS = 50
MAX_TYPE, MAX_DEDUP_KEY, MAX_RESOURCE, MAX_ACTOR, MAX_REASON = 100, 255, 2000, 255, 2000
DEEP = json.loads("[" * 400 + "]" * 400)
Call = Callable[[AnyProvider, ProviderSession[Any, Any], str, Registration[Any]], object]

CALLS: Mapping[str, Call] = {
    "identify": lambda provider, login, remote_id, registration: provider.identify(login),
    "list": lambda provider, login, remote_id, registration: provider.list_remote(login),
    "register": lambda provider, login, remote_id, registration: provider.register(login, registration),
    "read": lambda provider, login, remote_id, registration: provider.read_remote(
        login, remote_id, registration.secret
    ),
    "update": lambda provider, login, remote_id, registration: provider.update(login, remote_id, registration),
    "renew": lambda provider, login, remote_id, registration: provider.renew(login, remote_id, registration),
    "switch": lambda provider, login, remote_id, registration: provider.set_enabled(login, remote_id, False),
    "test": lambda provider, login, remote_id, registration: provider.test(login, remote_id, registration),
    "delete": lambda provider, login, remote_id, registration: provider.delete(login, remote_id),
}


class RecordingHttp(Http):
    """An HTTP client that records every response unchanged."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.responses: list[ProviderResponse] = []

    def _send(self, *arguments: Any) -> ProviderResponse:
        response = super()._send(*arguments)
        self.responses.append(response)
        return response


class ReplayingHttp(Http):
    """An HTTP client without a network that returns these responses in turn, then the last one forever."""

    def __init__(self, responses: Sequence[ProviderResponse]) -> None:
        self.exchanges: list[object] = []
        super().__init__(guard=AddressGuard(), record=self.exchanges.append)
        self._responses = list(responses)

    def _send(self, *_: Any) -> ProviderResponse:
        return self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]


def replaying_session(
    session: ProviderSession[Any, Any], responses: Sequence[ProviderResponse]
) -> ProviderSession[Any, Any]:
    """Return a copy of the session whose calls get these responses; it has no token yet."""
    return ProviderSession(session.settings, session.credentials, ReplayingHttp(responses), MemoryTokens())


ODD_TEXTS = st.sampled_from(
    [
        "", " ", "..", "a/b", "x" * 400, "\x00", "\ud800", "\u202e", "NaN", "enabled\x00", "0", "-1", "https://[", "//",
        "2026-13-45T00:00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "{", "[1", '{"urls": 1}',
    ]
)  # fmt: skip
ODD_VALUES: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**63, 10**400, 1e308, -0.5])
    | st.floats()
    | ODD_TEXTS
    | st.text(st.characters(categories=None), max_size=10)
    | st.sampled_from([[], {}, [[]], [None], {"": None}, [{}], {"data": []}, {"id": {}}])
    | st.just(DEEP)
)
STATUSES = st.sampled_from([200, 201, 204, 206, 301, 400, 401, 403, 404, 405, 409, 410, 418, 422, 423, 429, 500, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "X-Mashery-Error-Code", "X-Files-Cursor-Next", "X-Accesstoken-Quota-Allotted"]),
    st.sampled_from(["", "0", "-5", "1e400", "nan", "ERR_403_DEVELOPER_OVER_QPS", "²", "9" * 30, "Mon, 99 Foo"]),
    max_size=3,
)


@st.composite
def distorted(draw: st.DrawFn, responses: Sequence[ProviderResponse]) -> list[ProviderResponse]:
    """Draw these responses with one of them distorted."""
    index = draw(st.integers(0, len(responses) - 1))
    response = responses[index]
    value: object = json.loads(response.body) if response.body else None
    body = draw(st.binary(max_size=60)) if draw(st.integers(0, 9)) == 0 else lax_json(draw(distort(value)))
    status = draw(STATUSES) if draw(st.integers(0, 3)) == 0 else response.status
    headers = requests.structures.CaseInsensitiveDict({**response.headers, **draw(HEADERS)})
    return [*responses[:index], ProviderResponse(status, headers, body), *responses[index + 1 :]]


@st.composite
def distort(draw: st.DrawFn, value: object) -> object:
    """Draw the value with one odd part."""
    deeper = draw(st.integers(0, 4))
    if isinstance(value, dict) and value and deeper:
        key = draw(st.sampled_from(sorted(value)))
        if deeper == 1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: draw(distort(value[key]))}
    if isinstance(value, list) and value and deeper:
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(distort(value[index])), *value[index + 1 :]]
    return draw(ODD_VALUES)


def lax_json(value: object) -> bytes:
    """Encode as JSON, including values that strict JSON does not permit."""
    return json.dumps(value).encode()


def texts_in(value: object) -> Iterator[str]:
    """Yield every string in the value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*texts_in(key), *texts_in(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def check_storable(outcome: object) -> None:
    """Check that what a call returned or raised, or a parsed request, fits into the database and into strict JSON."""
    if isinstance(outcome, tuple | list):
        for item in outcome:
            check_storable(item)
    elif isinstance(outcome, RemoteSubscription):
        assert 0 < len(outcome.remote_id) <= MAX_REMOTE_ID
        assert 0 < len(outcome.status) <= MAX_STATUS
        assert outcome.expires_at is None or outcome.expires_at.tzinfo
        _check_texts([outcome.remote_id, outcome.status, outcome.url, outcome.config])
    elif isinstance(outcome, Identity):
        _check_texts([dict(outcome.facts), outcome.warning])
    elif isinstance(outcome, Parsed):
        for event in outcome.events:
            assert 0 < len(event.type) <= MAX_TYPE
            assert 0 < len(event.dedup_key) <= MAX_DEDUP_KEY
            assert event.occurred_at is None or event.occurred_at.tzinfo is UTC
            assert "" not in (event.resource, event.previous_resource, event.actor)
            assert max(len(event.resource or ""), len(event.previous_resource or "")) <= MAX_RESOURCE
            assert len(event.actor or "") <= MAX_ACTOR
            names = [event.type, event.dedup_key, event.provider_event_id, event.resource, event.resource_type]
            _check_texts([*names, event.previous_resource, event.actor])
            json.dumps(event.data, allow_nan=False)
        for element in outcome.unreadable:
            assert len(element.reason) < MAX_REASON
            _check_texts([element.reason])
    elif isinstance(outcome, TestResult):
        _check_texts([outcome.detail])
    elif isinstance(outcome, ProviderError):
        assert outcome.message
        assert outcome.retry_after is None or 0 <= outcome.retry_after <= 24 * 3600
        _check_texts([outcome.message, outcome.field])


def _check_texts(value: object) -> None:
    json.dumps(value, allow_nan=False)
    for text in texts_in(value):
        assert "\x00" not in text
        assert text.encode().decode() == text
