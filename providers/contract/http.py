"""The one way out to providers: time-outs, size cap, no redirects, address guard, rate limit, errors that decide.

Free of Django: the limiter and the recorder are arguments. The database-backed limiter lives beside the account model.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection

from providers.contract import strict_json
from providers.contract.errors import (
    AddressRefused,
    AuthenticationFailed,
    BadAnswer,
    LimitReached,
    NotFound,
    OutOfTime,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.contract.sanitize import storable_text

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_RETRY_AFTER = 24 * 3600.0
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
class AddressGuard:
    """Decides which addresses may be called: public ones, those in `networks`, and exactly those in `endpoints`."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    def check(self, address: str, port: int) -> None:
        """Raises AddressRefused for an address that is neither public nor allowed by a setting."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        if (str(ip), port) in self.endpoints or any(ip in network for network in self.networks):
            return
        if not ip.is_global or ip.is_multicast:
            raise AddressRefused(
                f"{ip} is not a public address, so it is not called. If it is meant, add it to ALLOW_PRIVATE_NETWORKS."
            )


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call and its answer as they may be kept: secrets masked, bodies parsed where they are JSON."""

    method: str
    url: str
    request_body: object
    status: int | None
    response_body: object
    error: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer."""

    status: int
    headers: Mapping[str, str]  # names are case-insensitive
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises BadAnswer when it is none."""
        try:
            return strict_json.loads(self.body)
        except ValueError:
            # Not quoted: the body may hold a secret, and only `Http` knows how to mask it.
            kind = self.headers.get("Content-Type") or "no content type"
            raise self.bad(f"something that is not JSON ({kind})") from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises BadAnswer when it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise self.bad("JSON that is no object")
        return value

    def bad(self, what: str) -> BadAnswer:
        """The error for an answer that cannot be right. With a good status, the call may have taken effect."""
        return BadAnswer(
            f"The provider answered {self.status} with {what}.",
            status=self.status,
            outcome_unknown=200 <= self.status < 300,
        )


ErrorReader = Callable[[Answer], ProviderError | None]


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
        adapter = _GuardedAdapter(guard)
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
    ) -> Answer:
        """One call. Returns the answer when its status is expected, else raises the matching ProviderError.

        `read_error` lets the plug-in read its provider's own error bodies; None from it means the general rule.
        """
        if self._before_call:
            self._before_call()
        if self.gate:
            self.gate.enter(self.priority)
        self.limiter.acquire(self.priority, self.deadline)
        sent = json.dumps(json_body).encode() if json_body is not None else None
        answer: Answer | None = None
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
                storable_text(str(key)): MASK if str(key).lower() in self.secret_keys and item else self.mask(item)
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
        return storable_text(text)

    def _readable(self, body: bytes) -> object:
        if not body:
            return None
        try:
            return self.mask(strict_json.loads(body))
        except ValueError:
            return self._mask_text(_excerpt(body, 2000))

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, params: Mapping[str, str] | None
    ) -> Answer:
        left = None if self.deadline is None else self.deadline - time.monotonic()
        if left is not None and left <= 0.05:
            raise OutOfTime("No time was left for this call; it goes on in the background.")
        read_timeout = READ_TIMEOUT if left is None else min(READ_TIMEOUT, left)
        stop = time.monotonic() + read_timeout
        late = Unavailable if read_timeout == READ_TIMEOUT else OutOfTime
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
                return Answer(response.status_code, response.headers, _read(response, stop, late))
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


def error_for(answer: Answer, message: str | None = None, *, field: str | None = None) -> ProviderError:
    """The general rule from status to error, for answers that a plug-in does not read in its own way."""
    status = answer.status
    text = message or _message(answer)
    said = f"the provider answered {status}" + (f": {text.removesuffix('.')}" if text else "")
    if 300 <= status < 400:
        target = answer.headers.get("Location", "nowhere")
        return BadAnswer(
            f"The provider answered {status}, a redirect to {target}; redirects are not followed. Check the address.",
            status=status,
        )
    if status == 401:
        return AuthenticationFailed(f"The credentials were refused ({said}). Enter new ones.", status=status)
    if status == 403:
        return PermissionMissing(f"A permission is missing ({said}).", status=status)
    if status in (404, 410):
        return NotFound(f"Not found ({said}).", status=status)
    if status == 409:
        return LimitReached(f"A conflict or a limit ({said}).", status=status, field=field)
    if status in (429, 503) and (status == 429 or retry_after(answer) is not None):
        return Throttled(f"Too many calls ({said}).", status=status, retry_after=retry_after(answer))
    if status >= 500 or status == 408:
        return Unavailable(f"The provider is in trouble ({said}).", status=status, outcome_unknown=status != 501)
    if 400 <= status < 500:
        return Refused(f"Refused ({said}).", status=status, field=field)
    return BadAnswer(f"An unexpected status ({said}).", status=status, outcome_unknown=True)


def retry_after(answer: Answer) -> float | None:
    """Seconds from a Retry-After header (a number or a date), at most a day; None without a usable one."""
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:  # NaN
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _message(answer: Answer) -> str:
    return _excerpt(answer.body).strip()


def _excerpt(body: bytes, length: int = 300) -> str:
    return body[:length].decode("utf-8", "replace")


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _read(response: requests.Response, stop: float, late: type[Unavailable]) -> bytes:
    body = bytearray()
    # `iter_content` would wait for a whole chunk to fill, however slowly it comes; `read1` gives what is there.
    while chunk := response.raw.read1(64 * 1024, decode_content=True):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise BadAnswer(
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


class _GuardedAdapter(HTTPAdapter):
    """Connects only to addresses that the guard passed, and to exactly those (no second look-up to be rebound)."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        guard = self._guard

        def connect(connection: HTTPConnection) -> socket.socket:
            host, port = connection.host, connection.port
            try:
                found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise urllib3.exceptions.NewConnectionError(connection, f"{host} was not found: {error}") from None
            addresses = [str(item[4][0]) for item in found]
            for address in addresses:
                guard.check(address, port)
            problem: OSError | None = None
            for address in addresses:
                try:
                    return create_connection(
                        (address, port), connection.timeout, connection.source_address, connection.socket_options
                    )
                except TimeoutError:
                    raise urllib3.exceptions.ConnectTimeoutError(connection, f"{host} did not answer") from None
                except OSError as error:
                    problem = error
            raise urllib3.exceptions.NewConnectionError(connection, f"{host} could not be reached: {problem}")

        class GuardedHTTPConnection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class GuardedHTTPSConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class GuardedHTTPPool(urllib3.HTTPConnectionPool):
            ConnectionCls = GuardedHTTPConnection

        class GuardedHTTPSPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = GuardedHTTPSConnection

        self.poolmanager.pool_classes_by_scheme = {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}
