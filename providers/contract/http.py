"""The HTTP client for calls to providers, with timeouts, a size limit, the address guard and rate limiting.

Redirects are not followed. This module does not depend on Django; the limiter in the database is in
`providers.accounts.rate_limiter`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from providers.contract import strict_json
from providers.contract.address_guard import AddressGuard, GuardedAdapter
from providers.contract.call_limits import Gate, Limiter, NoLimit, Priority
from providers.contract.errors import (
    AddressRefused,
    DeadlineExceeded,
    InvalidResponse,
    ProviderError,
    Throttled,
    Unavailable,
)
from providers.contract.masking import SecretMask
from providers.contract.responses import ErrorReader, ProviderResponse, error_for, excerpt

CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 15.0
MIN_SECONDS_LEFT = 0.05  # no call is started with less time before the deadline
MAX_RESPONSE_BYTES = 2 * 1024 * 1024
MAX_RECORDED_BYTES = 2000  # of a response that is not JSON
DEFAULT_PENALTY_SECONDS = 5.0  # no calls for that long after throttling without Retry-After
USER_AGENT = "Hookkeeper"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call and its response as they may be stored: secrets masked, JSON bodies parsed."""

    method: str
    url: str
    request_body: object
    status: int | None
    response_body: object
    error: str | None


class Http:
    """The HTTP client for one account. Not thread-safe, cheap to create; close it or use it as a context manager.

    `secrets` are masked in everything that is recorded. `deadline` (monotonic seconds) limits the total time, waiting
    for the rate limit included. `record` receives every exchange, failed ones included.
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
        self._mask = SecretMask(secrets, secret_keys)
        self.deadline = deadline
        self.record = record
        self.priority = priority
        self._before_call = before_call
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy or netrc from the environment would bypass the guard
        adapter = GuardedAdapter(guard)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hide(self, secret: str) -> None:
        """Mask one more secret from now on, such as a token that was just obtained."""
        self._mask.add(secret)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that are masked."""
        return self._mask.secrets

    def close(self) -> None:
        """Close the connections."""
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
        """Make one call. Return the response if its status is expected, else raise the matching ProviderError.

        `read_error` lets a plug-in interpret its provider's error bodies; if it returns None, `error_for` decides.
        """
        if self._before_call:
            self._before_call()
        if self.gate:
            self.gate.enter(self.priority)
        self.limiter.acquire(self.priority, self.deadline)
        body = json.dumps(json_body).encode() if json_body is not None else None
        response: ProviderResponse | None = None
        problem: ProviderError | None = None
        try:
            response = self._send(method, url, dict(headers or {}), body, params)
            if response.status not in expected:
                problem = (read_error(self._masked(response)) if read_error else None) or error_for(
                    self._masked(response, by_key=True)
                )
                if isinstance(problem, Throttled):
                    seconds = problem.retry_after
                    self.limiter.penalise(DEFAULT_PENALTY_SECONDS if seconds is None else seconds)
                raise problem
            return response
        except ProviderError as error:
            problem = error
            error.message = self._mask.text(error.message)  # it may quote a response that contains our secret
            error.args = (error.message,)
            raise
        finally:
            if self.gate and (response or problem):
                self.gate.record(problem)
            if self.record:
                self.record(
                    Exchange(
                        method=method,
                        url=self._mask.text(url),
                        request_body=self._mask.json(json_body),
                        status=response.status if response else problem.status if problem else None,
                        response_body=self._recordable(response.body) if response else None,
                        error=self._mask.text(problem.message) if problem else None,
                    )
                )

    def _masked(self, response: ProviderResponse, *, by_key: bool = False) -> ProviderResponse:
        return replace(response, body=self._mask.body(response.body, by_key=by_key))

    def _recordable(self, body: bytes) -> object:
        if not body:
            return None
        try:
            return self._mask.json(strict_json.loads(body))
        except ValueError:
            return self._mask.text(excerpt(self._mask.body(body), MAX_RECORDED_BYTES))

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, params: Mapping[str, str] | None
    ) -> ProviderResponse:
        seconds_left = None if self.deadline is None else self.deadline - time.monotonic()
        if seconds_left is not None and seconds_left <= MIN_SECONDS_LEFT:
            raise DeadlineExceeded("No time was left for this call; the work continues in the background.")
        read_timeout = READ_TIMEOUT_SECONDS if seconds_left is None else min(READ_TIMEOUT_SECONDS, seconds_left)
        stop = time.monotonic() + read_timeout
        timeout_error = Unavailable if read_timeout == READ_TIMEOUT_SECONDS else DeadlineExceeded
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
                # The total includes the time to resolve the name and to connect.
                timeout=urllib3.Timeout(  # type: ignore[arg-type]
                    total=read_timeout, connect=min(CONNECT_TIMEOUT_SECONDS, read_timeout), read=read_timeout
                ),
                allow_redirects=False,
                stream=True,
            ) as response:
                return ProviderResponse(response.status_code, response.headers, _read(response, stop, timeout_error))
        except requests.exceptions.ConnectTimeout:
            waited = min(CONNECT_TIMEOUT_SECONDS, read_timeout)
            raise timeout_error(f"No connection to {_host(url)} within {waited:.0f} s.") from None
        except requests.exceptions.Timeout:
            raise timeout_error(
                f"{_host(url)} did not answer within {read_timeout:.0f} s.", outcome_unknown=True
            ) from None
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


def _read(response: requests.Response, stop: float, timeout_error: type[Unavailable]) -> bytes:
    body = bytearray()
    # `iter_content` waits until a whole chunk has arrived, which may exceed the timeout; `read1` does not wait.
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise InvalidResponse(
                f"The response is larger than {MAX_RESPONSE_BYTES // 1024 // 1024} MiB and was not read.",
                status=response.status_code,
                outcome_unknown=True,
            )
        if time.monotonic() > stop:
            raise timeout_error("The response took too long.", status=response.status_code, outcome_unknown=True)
    return bytes(body)


def _find(error: BaseException, kind: type[Any]) -> Any:
    """Return the first exception of that type among an error, its arguments, reasons and causes."""
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
