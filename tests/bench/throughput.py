"""Throughput: against the same server without the write, a usual view, single commits, and on a slow disk."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench import load
from tests.bench.databases import LOAD_CORE, SERVER_CORE, Database
from tests.bench.load import Load
from tests.bench.measurement import (
    DOORS,
    BenchDatabase,
    Figure,
    Scale,
    bench_database,
    measure,
    median,
)
from tests.bench.server import Server
from tests.harness.processes import ROOT


def rates(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure requests/s against the same door without the write, a usual view, and one commit per row."""
    sides = [*((door, mode) for door in DOORS for mode in ("full", "floor")), ("drf", "create")]
    rounds: list[dict[tuple[str, str], Load]] = []
    commits: list[float] = []
    with bench_database(kind, folder) as bench:
        for _ in range(scale.rounds):
            rounds.append({(door, mode): _measure_alone(bench, door, mode, scale.seconds) for door, mode in sides})
            commits.append(single_commits(bench.database, scale.seconds))
    yield from _rate_figures(kind, rounds, commits)


def _measure_alone(bench: BenchDatabase, door: str, mode: str, seconds: float) -> Load:
    """Measure one load with a server of its own, since even idle servers would use its core."""
    with Server(bench.database, door=door, mode=mode) as server:
        load.send([bench.target(server)], seconds=1, core=LOAD_CORE)  # fills its caches
        return measure(bench, server, seconds, stores=mode != "floor")


def _rate_figures(kind: str, rounds: list[dict[tuple[str, str], Load]], commits: list[float]) -> Iterator[Figure]:
    bounds = {"drf": (0.5, 10, 0.9), "wsgi": (0.6, 20, 1.8)}
    single, usual = statistics.median(commits), _median_rate(rounds, ("drf", "create"))
    for door in DOORS:
        rate, floor = _median_rate(rounds, (door, "full")), _median_rate(rounds, (door, "floor"))
        against_floor, against_usual, against_single = bounds[door]
        yield Figure(
            "requests/s, against the same without the write",
            kind,
            door,
            median(one[door, "full"].rate / one[door, "floor"].rate for one in rounds),
            against_floor,
            note=f"{rate:,.0f} to {floor:,.0f}",
        )
        yield Figure(
            "requests/s, against one ORM create per request",
            kind,
            door,
            median(one[door, "full"].rate / one["drf", "create"].rate for one in rounds),
            against_usual,
            note=f"{rate:,.0f} to {usual:,.0f}",
        )
        yield Figure(
            "requests/s, against single-row commits on one connection",
            kind,
            door,
            median(one[door, "full"].rate / of_one for one, of_one in zip(rounds, commits, strict=True)),
            against_single,
            note=f"{rate:,.0f} to {single:,.0f}",
        )
        slow, slow_floor = (median(one[door, mode].p99 for one in rounds) for mode in ("full", "floor"))
        yield Figure(
            "p99 at 32 connections, against the same without the write",
            kind,
            door,
            median(one[door, "full"].p99 / one[door, "floor"].p99 for one in rounds),
            4,
            at_least=False,
            note=f"{slow:.1f} ms to {slow_floor:.1f} ms",
        )


def slow_disk(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure grouped commits on a disk whose fsync takes 2 ms longer."""
    with bench_database(kind, folder, slow_disk=True) as bench:
        for door in DOORS:
            with (
                Server(bench.database, door=door) as grouped,
                Server(bench.database, door=door, mode="insert") as single,
            ):
                rounds = [
                    (measure(bench, grouped, scale.seconds), measure(bench, single, scale.seconds))
                    for _ in range(scale.rounds)
                ]
            rate, alone = (statistics.median(one[side].rate for one in rounds) for side in (0, 1))
            yield Figure(
                "requests/s with 2 ms longer fsyncs, against one INSERT per request",
                kind,
                door,
                median(one.rate / other.rate for one, other in rounds),
                {"sqlite": 5, "postgres": 2}[kind],
                note=f"{rate:,.0f} to {alone:,.0f}",
            )


def single_commits(database: Database, seconds: float) -> float:
    """Return rows per second with one commit each on one connection, on the server's core."""
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "tests.bench.single_commits"]
    done = subprocess.run(
        [*command, database.url, str(seconds)],
        env=database.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _median_rate(rounds: list[dict[tuple[str, str], Load]], key: tuple[str, str]) -> float:
    return statistics.median(one[key].rate for one in rounds)
