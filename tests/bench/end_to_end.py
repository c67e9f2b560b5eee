"""Receiving and normalizing together, and the time from POST to the feed."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.measurement import (
    DOORS,
    BenchDatabase,
    Figure,
    InvalidMeasurement,
    Scale,
    background_job,
    bench_database,
    measure,
    median,
)
from tests.bench.server import Server


def end_to_end(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure receiving and normalizing together, and how soon events are in the feed."""
    with bench_database(kind, folder) as bench:
        for door in DOORS:
            rounds = [_measure_sustained(scale, bench, door) for _ in range(scale.sustained_rounds)]
            rate, alone = (statistics.median(getattr(one, side) for one in rounds) for side in ("rate", "alone"))
            waiting, gone = (max(getattr(one, what) for one in rounds) for what in ("waiting", "gone"))
            yield Figure(
                f"requests/s with normalising for {scale.sustained:.0f} s, against receiving alone",
                kind,
                door,
                median(one.rate / one.alone for one in rounds),
                0.5,
                note=f"{rate:,.0f} to {alone:,.0f}; at most {waiting} waited at the end, gone in {gone:.1f} s",
            )
            yield Figure("seconds until the backlog is gone", kind, door, gone, 10, at_least=False, unit=" s")
            with _normalizing_server(bench, door) as server:
                yield from _feed_latency(scale, bench, server, door)


@dataclass(frozen=True, slots=True)
class _Sustained:
    """Requests per second with normalizing and alone, and the backlog at the end."""

    rate: float
    alone: float
    waiting: int
    gone: float  # seconds until the backlog was gone


def _measure_sustained(scale: Scale, bench: BenchDatabase, door: str) -> _Sustained:
    """Measure receiving with normalizing, and receiving alone before and after it.

    The mean of both evens out the number of stored rows and changes of the machine's speed.
    """
    before = _receiving_rate(bench, door, scale.sustained / 6)
    with _normalizing_server(bench, door) as server:
        both = measure(bench, server, scale.sustained)
        ended = time.monotonic()
        waiting = still = int(bench.database.inside("waiting"))
        while still:
            if time.monotonic() - ended > 120:
                raise InvalidMeasurement("The backlog of pending requests does not shrink to zero.")
            time.sleep(0.2)
            still = int(bench.database.inside("waiting"))
        gone = time.monotonic() - ended
    after = _receiving_rate(bench, door, scale.sustained / 6)
    return _Sustained(both.rate, (before + after) / 2, waiting, gone)


def _receiving_rate(bench: BenchDatabase, door: str, seconds: float) -> float:
    with Server(bench.database, door=door) as server:
        rate = measure(bench, server, seconds).rate
    bench.database.inside("normalize_all")
    return rate


@contextlib.contextmanager
def _normalizing_server(bench: BenchDatabase, door: str) -> Iterator[Server]:
    """Run a web process that normalizes, with the worker's poller beside it."""
    with background_job(bench.database, "poll"), Server(bench.database, door=door, normalize=True) as server:
        yield server


def _feed_latency(scale: Scale, bench: BenchDatabase, server: Server, door: str) -> Iterator[Figure]:
    job = {"target": asdict(bench.target(server)), "rate": 500, "seconds": scale.steady}
    found = json.loads(bench.database.python("-m", "tests.bench.latency", json.dumps(job)))
    if found["lost"]:
        raise InvalidMeasurement(f"{found['lost']} events never reached the feed.")
    kind = bench.database.kind
    for part, bound in (("median", 100), ("p99", 1000)):
        what = f"from POST to the feed at 500/s, {part}"
        yield Figure(what, kind, door, found[part], bound, at_least=False, unit=" ms")
