"""The product's web server in a separate process, for webhooks over real HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from subscriptions.models import Subscription
from tests.harness.processes import ROOT, environment
from tests.harness.receiving import hook_path

START_SECONDS = 60.0


@dataclass(frozen=True)
class ServerProcess:
    """A running web server."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class HookServer:
    """A running web server, and a subscription at a real provider (other processes do not know the fake one)."""

    port: int
    subscription: Subscription
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hook_url(self) -> str:
        return self.url + hook_path(self.subscription)

    @property
    def authentication(self) -> dict[str, str]:
        return {"Authorization": self.subscription.secrets[0]}

    def head(self, lines: str) -> bytes:
        """Return the head of an authenticated POST with these header lines, exactly as given."""
        authorization = f"Authorization: {self.authentication['Authorization']}"
        return f"POST {hook_path(self.subscription)} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n{lines}\r\n\r\n".encode()

    def send_raw(self, lines: str, body: bytes, *, hang_up: bool = False) -> bytes:
        """Send a POST with these header lines and this body, and return the response; b"" after hanging up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(self.head(lines) + body)
            if hang_up:
                time.sleep(0.3)
                return b""
            return connection.recv(4096)


@contextmanager
def serve(command: Sequence[str], port: int, log: Path, **settings: str) -> Iterator[ServerProcess]:
    """Run the server's command while the block runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(**settings), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        server = ServerProcess(port, log)
        _wait_until_ready(server, process)
        yield server
    finally:
        # Kill it with its children: granian may miss a SIGTERM that arrives right after its start.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _wait_until_ready(server: ServerProcess, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            requests.get(server.url + "/livez", timeout=5)
            return
        except requests.ConnectionError:
            assert process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.05)
