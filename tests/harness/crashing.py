"""A web process that can be killed, and clients that record which requests were accepted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.web import granian
from events.models import WebhookRequest
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from tests.harness.processes import ROOT, environment, free_port

CLIENTS = 6


@pytest.fixture
def egnyte_subscription(transactional_db: None) -> Subscription:
    """Create a subscription at a real provider: other processes do not know the fake one."""
    account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
    return Subscription.objects.create(account=account, due_at=None)


class WebProcess:
    """The product's web server in a process group of its own."""

    def __init__(
        self,
        log: Path,
        *,
        entry: str = "wsgi",
        application: str = "config.wsgi:application",
        threads: int = granian.THREADS,
        **settings: str,
    ) -> None:
        self.port = free_port()
        self.log = log
        self._command = granian.command("127.0.0.1", self.port, application=application)
        self._command[self._command.index("--blocking-threads") + 1] = str(threads)
        self._env = environment(RECEIVER_ENTRY=entry, **settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and return once it responds."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while self.status("/livez") != 200:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def terminate(self) -> None:
        """Send SIGTERM, and wait some seconds for the server to end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def kill(self) -> None:
        """Send SIGKILL to the server and its children."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def status(self, path: str) -> int | None:
        """Return the status of a GET, or None without a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class Load:
    """Clients that send different, numbered bodies until they are stopped. Each event is in `copies` bodies."""

    def __init__(self, subscription: Subscription, *ports: int, copies: int = 1) -> None:
        self._path = f"/hooks/{subscription.token}"
        self._headers = {"Authorization": subscription.secrets[0], "Content-Type": "application/json"}
        self._ports = ports
        self._copies = copies
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        self.accepted: list[bytes] = []
        self.statuses: Counter[int | None] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests while the block runs."""
        threads = [threading.Thread(target=self._run, args=(index,)) for index in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            self._stop.clear()

    def send(self, connection: http.client.HTTPConnection) -> int | None:
        """Send one request, and record its body if the response is 200."""
        with self._lock:
            self._number += 1
            number = self._number
        event = number // self._copies
        body = b'[{"eventId": "e%d", "eventType": "fs:add_file", "data": {"targetPath": "/a"}}]' % event
        body += b" " * (number % 2000)
        status: int | None = None
        try:
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.02)
        with self._lock:
            self.statuses[status] += 1
            if status == 200:
                self.accepted.append(body)
        return status

    def _run(self, index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[index % len(self._ports)], timeout=10)
        while not self._stop.is_set():
            self.send(connection)
        connection.close()

    def wait_for_more(self, count: int, seconds: float = 30) -> None:
        """Wait until this many more requests have been accepted."""
        target, deadline = len(self.accepted) + count, time.monotonic() + seconds
        while len(self.accepted) < target:
            assert time.monotonic() < deadline, self.statuses
            time.sleep(0.01)


def assert_stored_once(load: Load) -> None:
    """Assert that each accepted body is stored exactly once, byte for byte."""
    stored = Counter(bytes(body) for body in WebhookRequest.objects.values_list("body", flat=True))
    missing = [body for body in load.accepted if not stored[body]]
    assert not missing, f"{len(missing)} of {len(load.accepted)} are missing: {missing[:3]}"
    assert not [body for body, count in stored.items() if count > 1]
    assert load.accepted


def assert_events_counted(requests: Iterable[bytes], events: Iterable[tuple[str | None, int]]) -> None:
    """Assert that each received event is stored once, with the right number of duplicates."""
    received = Counter(json.loads(body)[0]["eventId"] for body in requests)
    stored = list(events)
    assert len(stored) == len(received)
    assert dict(stored) == {name: count - 1 for name, count in received.items()}
