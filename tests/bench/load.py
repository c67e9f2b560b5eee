"""Send webhook requests as fast as they are answered, from one process: with wrk if installed, else in Python.

Each request is one event of Egnyte Connect with an ID of its own: 1 KB of JSON, with the shared secret in a header.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CONNECTIONS = 32
BODY_BYTES = 1024
WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
MAX_LATENCIES = 200_000  # recorded by the Python sender
_RESULT = re.compile(r"^result (?P<facts>{.*})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """One callback URL and the header that authenticates requests."""

    port: int
    path: str
    header: str
    value: str


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load. `seconds` is its duration; latencies are in milliseconds."""

    answered: int  # with 200
    refused: int  # with another status, or not at all
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests per second that were answered with 200."""
        return self.answered / self.seconds


def send(targets: Sequence[Target], *, seconds: float, connections: int = CONNECTIONS, core: int | None = None) -> Load:
    """Keep `connections` busy for that long, with requests alternating over the targets. `core` pins the sender."""
    run = secrets.token_hex(4)
    if shutil.which("wrk"):
        return _wrk(targets, run, seconds, connections, core)
    job = json.dumps([[asdict(target) for target in targets], run, seconds, connections])
    return _result(_pinned([sys.executable, "-m", __spec__.name, job], core))


def body(event_id: str) -> bytes:
    """Return one event, padded to BODY_BYTES. Only its end differs between requests."""
    event = {
        "domain": "acme",
        "timestamp": 1767323106337,
        "user": {"id": 57, "displayName": "Marco Rossi", "username": "mrossi", "email": "marco.rossi@example.test"},
        "actionSource": "WebUI",
        "eventType": "fs:add_file",
        "customProperties": {},
        "data": {"targetPath": "/Shared/Finance/2026/Q1 report.xlsx", "isFolder": False, "note": ""},
        "eventId": event_id,
    }
    text = json.dumps([event])
    return text.replace('"note": ""', f'"note": "{"x" * (BODY_BYTES - len(text))}"').encode()


def _pinned(command: list[str], core: int | None) -> str:
    if core is not None and shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _result(output: str) -> Load:
    found = _RESULT.search(output)
    if found is None:
        raise RuntimeError(f"The load generator said nothing that we understand:\n{output}")
    return Load(**json.loads(found["facts"]))


def _wrk(targets: Sequence[Target], run: str, seconds: float, connections: int, core: int | None) -> Load:
    head, tail = body("EVENT-ID").decode().split("EVENT-ID")
    paths = [f"{target.path} {target.header} {target.value}" for target in targets]
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(round(seconds), 1)}s"]
    command += ["--timeout", "30s", "--script", str(WRK_SCRIPT), f"http://127.0.0.1:{targets[0].port}"]
    return _result(_pinned([*command, "--", run, head, tail, *paths], core))


# -- Our own generator, as a process of its own ------------------------------------------------------------------------


class _Connection(asyncio.Protocol):
    """Sends a request, waits for the response (without a body, or an empty chunked one), and repeats."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if self._seen.endswith(b"0\r\n\r\n" if b"chunked" in self._seen else b"\r\n\r\n"):
            self._work.note(self._seen[9:12] == b"200", time.perf_counter() - self._sent)
            self._seen = b""
            if self._work.over:
                self._transport.close()
            else:
                self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._work.ended(cut=exc is not None or not self._work.over)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._work.next_request())


class _Work:
    def __init__(self, targets: Sequence[Target], run: str, seconds: float, connections: int) -> None:
        self._targets = itertools.cycle(targets)
        self._numbers = itertools.count()
        self._run = run
        self._open = connections
        self._started = time.perf_counter()
        self._until = self._started + seconds
        self._latencies: list[float] = []
        self.answered = self.refused = 0
        self.done = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        return time.perf_counter() >= self._until

    def next_request(self) -> bytes:
        target = next(self._targets)
        content = body(f"{self._run}-{next(self._numbers):012}")
        head = f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n{target.header}: {target.value}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content

    def note(self, ok: bool, latency: float) -> None:
        self.answered += ok
        self.refused += not ok
        if len(self._latencies) < MAX_LATENCIES:
            self._latencies.append(latency)

    def ended(self, *, cut: bool) -> None:
        self.refused += cut
        self._open -= 1
        if not self._open:
            self.done.set_result(None)

    def load(self) -> Load:
        ordered = sorted(self._latencies) or [0.0]
        p50, p99 = (ordered[int(len(ordered) * part)] * 1000 for part in (0.5, 0.99))
        return Load(self.answered, self.refused, time.perf_counter() - self._started, p50, p99)


async def _generate(targets: Sequence[Target], run: str, seconds: float, connections: int) -> Load:
    work = _Work(targets, run, seconds, connections)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(work), "127.0.0.1", targets[0].port)
    await work.done
    return work.load()


if __name__ == "__main__":
    given, *rest = json.loads(sys.argv[1])
    result = asyncio.run(_generate([Target(**item) for item in given], *rest))
    sys.stdout.write(f"result {json.dumps(asdict(result))}\n")
