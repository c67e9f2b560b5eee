"""Starts the product's processes, restarts what crashes, and stops everything together."""

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

SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
STEADY_AFTER = 60.0  # a process that ran for so many seconds starts with the shortest pause again
STOP_TIMEOUT = 5.0
LOOK_EVERY = 0.2
_output = threading.Lock()


@dataclass(slots=True)
class Child:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the supervisor's own
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = field(default=SHORTEST_PAUSE)

    def start(self) -> None:
        """Starts it in a session of its own (Ctrl-C reaches only the supervisor), tied to this process."""
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
        threading.Thread(target=relay, args=(self.name, self.process.stdout), daemon=True).start()

    def look(self) -> None:
        """Notices its end, and starts it again when its pause is over."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if now - self.started >= STEADY_AFTER:
                self.pause = SHORTEST_PAUSE
            say(f"{self.name} ended with {self.process.returncode}; it starts again in {self.pause:g} s.")
            self.kill_rest()
            self.process = None
            self.start_at = now + self.pause
            self.pause = min(self.pause * 2, LONGEST_PAUSE)
        if self.process is None and now >= self.start_at:
            self.start()

    def ask_to_stop(self) -> None:
        """SIGTERM: end what you do, and go."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def kill_rest(self) -> None:
        """SIGKILL to whatever is left in its process group, its own children included."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


class Supervisor:
    """Keeps children running until SIGINT or SIGTERM."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children
        self._stop = threading.Event()

    def run(self, *, is_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Returns after everything has ended. `on_ready` is called once, as soon as `is_ready` says yes."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        ready = False
        try:
            while not self._stop.wait(LOOK_EVERY):
                for child in self.children:
                    child.look()
                if not ready and is_ready():
                    ready = True
                    on_ready()
        finally:
            self.stop()

    def stop(self) -> None:
        """Asks all of them, waits together, then kills."""
        say("Stopping.")
        deadline = time.monotonic() + STOP_TIMEOUT
        for child in self.children:
            child.ask_to_stop()
        for child in self.children:
            if child.process is not None:
                try:
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    say(f"{child.name} did not stop within {STOP_TIMEOUT:g} s and is killed.")
                child.kill_rest()
                child.process.wait()


def relay(name: str, output: IO[str]) -> None:
    """Copies a child's output line by line, with its name in front."""
    for line in output:
        say(line.rstrip("\n"), name=name)


def say(text: str, *, name: str = "up") -> None:
    """One line on standard error."""
    with _output:
        try:
            sys.stderr.write(f"{name:<8}| {text}\n")
            sys.stderr.flush()
        except OSError:
            # Nobody reads our output any more. The children must still be read, or they would block on theirs.
            return
