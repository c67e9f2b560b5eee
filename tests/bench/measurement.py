"""What all measurements share: their scale, a figure of the table, a filled database, and one measured load."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.databases import LOAD_CORE, Database, postgres, sqlite
from tests.bench.load import Load, Target
from tests.bench.server import Server
from tests.harness.processes import ROOT

DOORS = ("drf", "wsgi")
DATABASES = {"sqlite": sqlite, "postgres": postgres}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: the full benchmark, or a quick one."""

    rounds: int
    seconds: float  # of one load
    stored: int  # events in the filled table
    sustained: float  # seconds of receiving and normalizing
    sustained_rounds: int
    requests: int  # before memory is measured the second time
    steady: float  # seconds at a steady rate


FULL = Scale(rounds=5, seconds=5, stored=10_000_000, sustained=60, sustained_rounds=3, requests=1_000_000, steady=30)
QUICK = Scale(rounds=3, seconds=2, stored=2_000_000, sustained=10, sustained_rounds=1, requests=50_000, steady=5)


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the table."""

    what: str
    database: str
    door: str
    value: float
    bound: float
    at_least: bool = True  # False: at most
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Return whether the value keeps its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class InvalidMeasurement(AssertionError):
    """The measured process did not do its work, so its speed means nothing."""


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    """A database with subscriptions to send to, each as (token, secret)."""

    database: Database
    subscriptions: tuple[tuple[str, str], ...]

    def target(self, server: Server, number: int = 0) -> Target:
        """Return where to send requests of a subscription."""
        return server.target(*self.subscriptions[number])

    def rows(self) -> int:
        """Return how many requests are stored."""
        return int(self.database.inside("stored"))


@contextlib.contextmanager
def bench_database(
    kind: str, folder: Path, *, subscriptions: int = 1, slow_disk: bool = False, stored: int = 0
) -> Iterator[BenchDatabase]:
    """Create a database with subscriptions and, if wanted, stored events."""
    with DATABASES[kind](folder, slow_disk=slow_disk) as database:
        made = json.loads(database.inside("prepare", subscriptions))
        if stored:
            database.python("-m", "tests.bench.fill", str(stored))
        yield BenchDatabase(database, tuple((token, secret) for token, secret in made))


def measure(bench: BenchDatabase, server: Server, seconds: float, *, stores: bool = True) -> Load:
    """Measure one load on the first subscription.

    Raises InvalidMeasurement if an answer was not 200, or if an answered request was not stored.
    """
    before = bench.rows() if stores else 0
    result = load.send([bench.target(server)], seconds=seconds, core=LOAD_CORE)
    if result.refused:
        raise InvalidMeasurement(f"{result.refused} requests were not answered with 200, {result.answered} were.")
    if stores:
        rows = bench.rows() - before
        # Requests under way at the end are stored as well, although their answers were not awaited.
        if not result.answered <= rows <= result.answered + 2 * load.CONNECTIONS:
            raise InvalidMeasurement(f"{result.answered} requests were answered with 200, and {rows} rows were stored.")
    return result


@contextlib.contextmanager
def background_job(database: Database, job: str) -> Iterator[None]:
    """Run a job of inside.py beside the load. Raises InvalidMeasurement if it ends before the load."""
    process = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "tests.bench.inside", job],
        env=database.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has started
    try:
        yield
        if process.poll() is not None:
            raise InvalidMeasurement(f"The {job} ended before the load did.")
    finally:
        process.terminate()
        process.wait()


def median(values: Iterator[float]) -> float:
    """Return the median of the rounds."""
    return statistics.median(values)
