"""The web server as `manage.py up` starts it, with one of the compared ways to store requests."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from config.web import granian
from tests.bench.databases import SERVER_CORE, Database
from tests.bench.load import Target
from tests.harness.processes import ROOT


class Server:
    """A web process on a database, pinned to a core. `door` is drf or wsgi; for `mode`, see app.py."""

    def __init__(self, database: Database, *, door: str, mode: str = "full", normalize: bool = False) -> None:
        self.database = database
        self._settings = {"RECEIVER_ENTRY": door, "BENCH_MODE": mode, "BENCH_NORMALIZE": str(int(normalize))}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> Server:
        command = granian.command("127.0.0.1", self.port, application="tests.bench.app:application")
        self._log: IO[bytes] = (self.database.data_dir / "web.log").open("ab")
        self._process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            cwd=ROOT,
            env={**self.database.environment(), **self.database.web_environment, **self._settings},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def target(self, token: str, secret: str) -> Target:
        """Return where to send requests of a subscription."""
        return Target(self.port, f"/hooks/{token}", "Authorization", secret)

    def memory(self) -> int:
        """Return the resident bytes of the serving process."""
        sizes = [_resident(pid) for pid in _tree(self._process.pid)]
        return max(sizes)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/livez")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = self.database.data_dir / "web.log"
                    raise RuntimeError(f"The server does not answer:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.1)


def _tree(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found


def _resident(pid: int) -> int:
    with Path(f"/proc/{pid}/statm").open() as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
