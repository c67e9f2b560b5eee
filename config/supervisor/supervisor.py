"""The supervisor starts the product's processes, restarts those that crash, and stops all of them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from config.environment import BASE_DIR

MIN_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0  # after this uptime, the next restart waits only the shortest pause
STOP_TIMEOUT_SECONDS = 5.0
CHECK_INTERVAL_SECONDS = 0.2
_output = threading.Lock()


@dataclass(slots=True)
class ChildProcess:
    """A process that is kept running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the supervisor's own
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = field(default=MIN_PAUSE_SECONDS)

    def start(self) -> None:
        """Start the process, tied to this one, in a session of its own: Ctrl-C reaches only the supervisor."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  # our own commands
            [sys.executable, "-m", "config.supervisor.parent_death", str(os.getpid()), *self.command],
            cwd=BASE_DIR,
            env={**os.environ, **self.environment, "HOOKKEEPER_SUPERVISED": "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if self.process.stdout is None:
            raise RuntimeError("a piped process has no output")
        threading.Thread(target=relay_output, args=(self.name, self.process.stdout), daemon=True).start()

    def check(self) -> None:
        """Restart the process after its pause if it has ended."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if now - self.started >= STEADY_SECONDS:
                self.pause = MIN_PAUSE_SECONDS
            write_line(f"{self.name} exited with {self.process.returncode}; restarting in {self.pause:g} s.")
            self.kill_group()
            self.process = None
            self.start_at = now + self.pause
            self.pause = min(self.pause * 2, MAX_PAUSE_SECONDS)
        if self.process is None and now >= self.start_at:
            self.start()

    def terminate(self) -> None:
        """Send SIGTERM to the process."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill_group(self) -> None:
        """Send SIGKILL to what is left of the process group: the process and its children."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


class Supervisor:
    """Keep child processes running until SIGINT or SIGTERM."""

    def __init__(self, children: Sequence[ChildProcess]) -> None:
        self.children = children
        self._stop = threading.Event()

    def run(self, *, is_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Run until a signal, and return after all processes have ended. Call `on_ready` once, when `is_ready()`."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        ready = False
        try:
            while not self._stop.wait(CHECK_INTERVAL_SECONDS):
                for child in self.children:
                    child.check()
                if not ready and is_ready():
                    ready = True
                    on_ready()
        finally:
            self.stop()

    def stop(self) -> None:
        """Send SIGTERM to all processes, wait STOP_TIMEOUT_SECONDS in all, then kill what is left."""
        write_line("Stopping.")
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        for child in self.children:
            child.terminate()
        for child in self.children:
            if child.process is not None:
                try:
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    write_line(f"{child.name} did not stop within {STOP_TIMEOUT_SECONDS:g} s; killing it.")
                child.kill_group()
                child.process.wait()


def relay_output(name: str, output: IO[str]) -> None:
    """Copy a child's output line by line, prefixed with its name."""
    for line in output:
        write_line(line.rstrip("\n"), name=name)


def write_line(text: str, *, name: str = "up") -> None:
    """Write one line to standard error."""
    with _output:
        try:
            sys.stderr.write(f"{name:<8}| {text}\n")
            sys.stderr.flush()
        except OSError:
            # Standard error is closed. The children's output must still be read, or they would block.
            return
