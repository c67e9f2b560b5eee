"""A temporary PostgreSQL server with its files in a folder, listening on loopback only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

START_SECONDS = 30.0
SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "synchronous_commit=on")


class MissingPostgres(RuntimeError):
    """PostgreSQL is not installed, or cannot be run by a user other than root."""


def programs() -> Path:
    """Return the folder of the newest installed version's programs. Raises MissingPostgres."""
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        raise MissingPostgres("setpriv is not installed (Debian: apt-get install util-linux).")
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parent.parent.name), reverse=True
    )
    if installed:
        return installed[0].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise MissingPostgres("initdb is not installed (Debian: apt-get install postgresql).")
    return Path(on_path).parent


class OwnPostgres:
    """A cluster in `folder`.

    `preload` is a shared library that its processes load first; `core` is the CPU core that they run on.
    """

    def __init__(self, folder: Path, *, preload: Path | None = None, core: int | None = None) -> None:
        self.folder = folder
        self._preload = preload
        self._pinned = [] if core is None else ["taskset", "-c", str(core)]
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Its DATABASE_URL."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> OwnPostgres:
        """Create the cluster if it does not exist, start it, and return when it accepts connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        if not data.exists():
            self._give_to_postgres_user()
            self._run(
                [str(programs() / "initdb"), f"--pgdata={data}", "--no-sync", "--auth=trust", "--username=postgres"]
            )
        options = [part for setting in (*SETTINGS, f"port={self.port}") for part in ("-c", setting)]
        env = {**os.environ, "LD_PRELOAD": str(self._preload)} if self._preload else None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._pinned, *_as_other_user(), str(programs() / "postgres"), "-D", str(data), *options],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()
        return self

    def stop(self) -> None:
        """Shut down fast: sessions end, and no committed data is lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Kill the server and wait for its processes: a power failure, but the operating system's cache survives."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(10)
        self._process = None
        deadline = time.monotonic() + START_SECONDS
        status = [str(programs() / "pg_ctl"), "-D", str(self.folder / "data"), "status"]
        while subprocess.run([*_as_other_user(), *status], capture_output=True, check=False).returncode == 0:
            if time.monotonic() > deadline:
                raise RuntimeError("The processes of a killed PostgreSQL do not end.")
            time.sleep(0.1)
        time.sleep(0.5)  # its children notice and exit; no other server can start before
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stop the server's processes, as when its disk hangs: connections stay open without a response."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue the server's processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        pid = self._process.pid  # its children are in process groups of their own
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def _give_to_postgres_user(self) -> None:
        # initdb refuses to run as root.
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run([*_as_other_user(), *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


def _as_other_user() -> list[str]:
    if os.getuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
