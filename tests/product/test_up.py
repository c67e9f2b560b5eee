"""`manage.py up` as a real process: its start, output, restarts and stop. Nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.environment import BASE_DIR

pytestmark = pytest.mark.e2e
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties processes to their parents")
MAX_STOP_SECONDS = 20  # the supervisor's timeout before it kills, and a reserve for a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Up:
    """One run of the product."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def output_file(self) -> Path:
        return self.data_dir.parent / f"output-{self.port}"

    @property
    def running(self) -> subprocess.Popen[str]:
        assert self.process is not None
        return self.process

    def start(self) -> Up:
        secrets = {"SECRET_KEY": "", "ENCRYPTION_KEYS": "", "PUBLIC_URL": "", "DATABASE_URL": ""}
        run = {"DATA_DIR": str(self.data_dir), "PORT": str(self.port), "SANDBOX_PORT": str(self.sandbox_port)}
        env = {**os.environ, **secrets, "CELERY_BROKER_URL": "", **run, **self.settings}
        with self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=BASE_DIR, env=env, stdout=output, stderr=output, text=True
            )
        return self

    def output_text(self) -> str:
        return self.output_file.read_text()

    def wait_ready(self) -> Up:
        banner = "Hookkeeper is running."
        wait_until(lambda: banner in self.output_text() or self.running.poll() is not None, about=self, seconds=120)
        assert banner in self.output_text(), self.output_text()
        return self

    def password(self) -> str:
        match = re.search(r"^ +Password +(.*)$", self.output_text(), re.MULTILINE)
        assert match, self.output_text()
        return match[1]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def answers(self, path: str) -> bool:
        try:
            return self.get(path)[0] == 200
        except (OSError, HTTPException):
            return False

    def processes(self) -> dict[int, str]:
        """Return the command lines of all processes of this run, found by their environment."""
        mark = f"DATA_DIR={self.data_dir}".encode()
        processes: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    processes[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return processes

    def find(self, text: str, *, parent: int | None = None) -> int | None:
        """Return the process with this text in its command line whose parent is the supervisor, or the given one."""
        parent = parent or self.running.pid
        matching = [pid for pid, command in self.processes().items() if text in command and parent_of(pid) == parent]
        return matching[0] if matching else None

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Stop the run with a signal. Return the seconds until it had ended."""
        start = time.monotonic()
        self.running.send_signal(number)
        self.running.wait(60)
        return time.monotonic() - start


def parent_of(pid: int) -> int | None:
    """Return the parent of a process; None if the process has ended."""
    with contextlib.suppress(OSError):
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return None


def wait_until(condition: Callable[[], bool], *, about: Up, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, about.output_text()
        time.sleep(0.1)


def login(up: Up, password: str) -> bool:
    """Return whether the admin accepts the password."""
    import requests

    url = f"http://127.0.0.1:{up.port}/admin/login/"
    with requests.Session() as session:
        session.get(url, timeout=10).raise_for_status()
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
        response = session.post(url, data=form, timeout=10, allow_redirects=False)
    return response.status_code == 302


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Return a run that is not started yet, and kill it at the end."""
    run = Up(tmp_path / "data")
    yield run
    if run.process is not None and run.process.poll() is None:
        run.process.kill()
        run.process.wait()


@linux
def test_two_starts_crashes_and_a_killed_supervisor(up: Up) -> None:
    up.start().wait_ready()
    password = up.password()
    assert login(up, password)
    assert (up.data_dir / "secrets.env").stat().st_mode & 0o777 == 0o600
    wait_until(lambda: json.loads(up.get("/readyz")[1])["status"] == "ok", about=up)

    for name in ("-m celery", "-m granian", "manage.py sandbox"):
        crash(up, lambda text=name: up.find(text))  # type: ignore[misc]
    # granian serves from a child process.
    crash(up, lambda: up.find("-m granian", parent=up.find("-m granian")))
    wait_until(lambda: up.answers("/livez"), about=up)
    assert sum("-m granian" in command for command in up.processes().values()) == 2, "an orphan still serves"

    assert up.stop(signal.SIGINT) < MAX_STOP_SECONDS
    assert up.running.returncode == 0
    assert up.processes() == {}

    up.settings["DEMO"] = "0"
    start = time.monotonic()
    up.start().wait_ready()
    assert time.monotonic() - start < 45  # a few seconds on an idle machine; nothing is installed or created again
    assert up.password().startswith("(unchanged")
    assert login(up, password)

    # Beside it, no other one starts on the same DATA_DIR.
    assert refused(Up(up.data_dir, settings=up.settings)).startswith("DATA_DIR: another Hookkeeper runs on ")

    assert len(up.processes()) >= 4  # the supervisor, web and its child, worker
    assert not [command for command in up.processes().values() if "manage.py sandbox" in command]
    up.running.kill()
    up.running.wait()
    wait_until(lambda: up.processes() == {}, about=up, seconds=20)


def crash(up: Up, find: Callable[[], int | None]) -> None:
    """Kill a process, and wait until another one replaces it."""
    victim = find()
    assert victim is not None, up.processes()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: find() not in (None, victim), about=up)


def refused(up: Up) -> str:
    """Check that a start fails at once with one line of output, and return that line."""
    up.start()
    assert up.running.wait(30) == 1, up.output_text()
    assert up.output_text().count("\n") == 1, up.output_text()
    return up.output_text()


def test_a_port_in_use_stops_the_start(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.sandbox_port)):
        assert refused(up).startswith(f"SANDBOX_PORT: port {up.sandbox_port} on 127.0.0.1 is in use; ")


@pytest.fixture
def services(up: Up) -> Iterator[Up]:
    """Return a run on the services of `make test-services`, with a temporary database."""
    import psycopg
    from psycopg import sql

    server, broker = os.environ.get("TEST_DATABASE_URL"), os.environ.get("TEST_BROKER_URL")
    if not server or not broker:
        pytest.skip("needs TEST_DATABASE_URL and TEST_BROKER_URL")
    name = f"hookkeeper_up_{os.getpid()}"
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    up.settings.update(DATABASE_URL=url, CELERY_BROKER_URL=broker)

    def execute(command: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL(command).format(sql.Identifier(name)))

    execute("CREATE DATABASE {}")
    yield up
    if up.process is not None:
        up.stop()
    execute("DROP DATABASE {} WITH (FORCE)")


def test_the_database_and_broker_urls_select_other_services(services: Up) -> None:
    services.start().wait_ready()

    def ready() -> dict[str, Any]:
        return dict(json.loads(services.get("/readyz")[1]))

    wait_until(lambda: ready()["status"] == "ok", about=services)
    assert ready()["checks"]["database"]["detail"] == "postgresql"
    assert not list(services.data_dir.glob("*.sqlite3"))
    assert not (services.data_dir / "broker").exists()
