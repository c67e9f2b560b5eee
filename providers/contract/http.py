"""The one way out to providers: time-outs, size cap, no redirects, address guard, rate limit, errors that decide.

Free of Django: the limiter and the recorder are arguments. The database-backed limiter lives beside the account model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests
import urllib3

from providers.contract import strict_json
from providers.contract.address_guard import AddressGuard, GuardedAdapter
from providers.contract.errors import (
    AddressRefused,
    DeadlineExceeded,
    InvalidResponse,
    ProviderError,
    Throttled,
    Unavailable,
)
from providers.contract.responses import ErrorReader, ProviderResponse, error_for, excerpt
from providers.contract.sanitize import sanitize_text

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
MAX_ANSWER_BYTES = 2 * 1024 * 1024
PENALTY_UNTOLD = 5.0  # seconds to stay away after "too many calls" that does not say for how long
USER_AGENT = "Hookkeeper"
MASK = "***"


class Priority(IntEnum):
    """Who gets the calls when they are short: a look gives way to a change, a change to a renewal. An urgent call is
    for a lease that is about to end: it is tried even where the others stay away."""

    LOOK = 0
    CHANGE = 1
    RENEWAL = 2
    URGENT = 3


class Limiter(Protocol):
    """Keeps an account within its provider's limits, across all processes."""

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        """Waits for a free slot. Raises Throttled when none comes before `deadline` (monotonic seconds)."""

    def penalise(self, seconds: float) -> None:
        """The provider said to stay away for that long."""


class Gate(Protocol):
    """Knows whether an account's calls rest, and learns from each answer."""

    def enter(self, priority: Priority) -> None:
        """Before each call. Raises CallsPaused."""

    def note(self, problem: ProviderError | None) -> None:
        """After each call: how it went."""


class NoLimit:
    """For tests and for providers without a limit."""

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        """Returns at once."""

    def penalise(self, seconds: float) -> None:
        """Nothing to remember."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call and its answer as they may be kept: secrets masked, bodies parsed where they are JSON."""

    method: str
    url: str
    request_body: object
    status: int | None
    response_body: object
    error: str | None


class Http:
    """Calls for one account. Not thread-safe; cheap to make; close it or use it as a context manager.

    `secrets` are masked in everything recorded. `deadline` (monotonic seconds) bounds the whole, waiting included.
    `record` gets every exchange, also failed ones.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard,
        limiter: Limiter | None = None,
        secrets: Sequence[str] = (),
        secret_keys: frozenset[str] = frozenset(),
        deadline: float | None = None,
        record: Callable[[Exchange], None] | None = None,
        priority: Priority = Priority.CHANGE,
        before_call: Callable[[], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.gate = gate
        self.limiter = limiter or NoLimit()
        self.secrets = tuple(sorted(secrets, key=len, reverse=True))  # a secret may hold a shorter one
        self.secret_keys = frozenset(key.lower() for key in secret_keys)
        self.deadline = deadline
        self.record = record
        self.priority = priority
        self._before_call = before_call
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no netrc from the environment behind the guard's back
        adapter = GuardedAdapter(guard)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hide(self, secret: str) -> None:
        """Masks one more secret, such as a token that was just obtained, in everything recorded from now on."""
        self.secrets = (*self.secrets, secret)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json_body: object = None,
        params: Mapping[str, str] | None = None,
        expected: Sequence[int] = (200, 201, 202, 204),
        read_error: ErrorReader | None = None,
    ) -> ProviderResponse:
        """One call. Returns the answer when its status is expected, else raises the matching ProviderError.

        `read_error` lets the plug-in read its provider's own error bodies; None from it means the general rule.
        """
        if self._before_call:
            self._before_call()
        if self.gate:
            self.gate.enter(self.priority)
        self.limiter.acquire(self.priority, self.deadline)
        sent = json.dumps(json_body).encode() if json_body is not None else None
        answer: ProviderResponse | None = None
        problem: ProviderError | None = None
        try:
            answer = self._send(method, url, dict(headers or {}), sent, params)
            if answer.status not in expected:
                problem = (read_error(answer) if read_error else None) or error_for(answer)
                if isinstance(problem, Throttled):
                    told = problem.retry_after
                    self.limiter.penalise(PENALTY_UNTOLD if told is None else told)
                raise problem
            return answer
        except ProviderError as error:
            problem = error
            error.message = self._mask_text(error.message)  # it may quote the provider, which may quote our secret
            error.args = (error.message,)
            raise
        finally:
            if self.gate and (answer or problem):
                self.gate.note(problem)
            if self.record:
                self.record(
                    Exchange(
                        method=method,
                        url=self._mask_text(url),
                        request_body=self.mask(json_body),
                        status=answer.status if answer else problem.status if problem else None,
                        response_body=self._readable(answer.body) if answer else None,
                        error=self._mask_text(problem.message) if problem else None,
                    )
                )

    def mask(self, value: object) -> object:
        """The same JSON with every secret replaced by `***`."""
        if isinstance(value, dict):
            return {
                sanitize_text(str(key)): MASK if str(key).lower() in self.secret_keys and item else self.mask(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.mask(item) for item in value]
        return self._mask_text(self._mask_inside(value)) if isinstance(value, str) else value

    def _mask_inside(self, text: str) -> str:
        """The text; where it holds a JSON object, as some providers nest them, that is masked by its keys, too."""
        if not text.lstrip().startswith("{"):
            return text
        try:
            return json.dumps(self.mask(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            return text

    def _mask_text(self, text: str) -> str:
        for secret in self.secrets:
            if len(secret) >= 4:
                text = text.replace(secret, MASK).replace(quote(secret, safe=""), MASK)
        return sanitize_text(text)

    def _readable(self, body: bytes) -> object:
        if not body:
            return None
        try:
            return self.mask(strict_json.loads(body))
        except ValueError:
            return self._mask_text(excerpt(body, 2000))

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, params: Mapping[str, str] | None
    ) -> ProviderResponse:
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0.05:
            raise DeadlineExceeded("No time was left for this call; it goes on in the background.")
        read_timeout = READ_TIMEOUT if left is None else min(READ_TIMEOUT, left)
        stop = time.monotonic() + read_timeout
        late = Unavailable if read_timeout == READ_TIMEOUT else DeadlineExceeded
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json", **headers}
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                params=params,
                timeout=(min(CONNECT_TIMEOUT, read_timeout), read_timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                return ProviderResponse(response.status_code, response.headers, _read(response, stop, late))
        except requests.exceptions.ConnectTimeout:
            waited = min(CONNECT_TIMEOUT, read_timeout)
            raise late(f"No connection to {_host(url)} within {waited:.0f} s.") from None
        except requests.exceptions.Timeout:
            raise late(f"{_host(url)} did not answer within {read_timeout:.0f} s.", outcome_unknown=True) from None
        except requests.exceptions.SSLError as error:
            raise Unavailable(f"The TLS connection to {_host(url)} failed: {error}") from None
        except requests.exceptions.ConnectionError as error:
            refused = _find(error, AddressRefused)
            if refused is not None:
                raise refused from None
            never_sent = _find(error, urllib3.exceptions.NewConnectionError) is not None
            reason = "could not be reached" if never_sent else "broke the connection"
            raise Unavailable(f"{_host(url)} {reason}.", outcome_unknown=not never_sent) from None
        except requests.exceptions.InvalidURL as error:
            raise AddressRefused(f"{url} cannot be called: {error}") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(f"The call to {_host(url)} failed: {error}", outcome_unknown=True) from None


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _read(response: requests.Response, stop: float, late: type[Unavailable]) -> bytes:
    body = bytearray()
    # `iter_content` would wait for a whole chunk to fill, however slowly it comes; `read1` gives what is there.
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise InvalidResponse(
                f"The answer is larger than {MAX_ANSWER_BYTES // 1024 // 1024} MiB and was not read.",
                status=response.status_code,
                outcome_unknown=True,
            )
        if time.monotonic() > stop:
            raise late("The answer took too long.", status=response.status_code, outcome_unknown=True)
    return bytes(body)


def _find(error: BaseException, kind: type[Any]) -> Any:
    """The first exception of that kind among an error, its arguments, reasons and causes."""
    queue: list[object] = [error]
    seen: set[int] = set()
    while queue:
        item = queue.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, kind):
            return item
        queue += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
    return None
