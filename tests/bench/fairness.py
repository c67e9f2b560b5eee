"""Fairness: the latency of other subscriptions while one of them is flooded."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import load
from tests.bench.databases import LOAD_CORE
from tests.bench.load import Load, Target
from tests.bench.measurement import (
    DOORS,
    Figure,
    InvalidMeasurement,
    Scale,
    bench_database,
    median,
)
from tests.bench.server import Server


def fairness(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure the latency of 199 subscriptions while another is flooded, against the same load spread over all."""
    with bench_database(kind, folder, subscriptions=200) as bench:
        for door in DOORS:
            with Server(bench.database, door=door, normalize=True) as server:
                everyone = [bench.target(server, number) for number in range(200)]
                rounds = [
                    (
                        _latency_of_others(everyone[1:], everyone[:1], scale.seconds),
                        _latency_of_others(everyone[1:], everyone, scale.seconds),
                    )
                    for _ in range(scale.rounds)
                ]
            flooded, even = (statistics.median(pair[side].p99 for pair in rounds) for side in (0, 1))
            yield Figure(
                "p99 of 199 subscriptions while another floods, against the same load on all alike",
                kind,
                door,
                median(one.p99 / other.p99 for one, other in rounds),
                2,
                at_least=False,
                note=f"{flooded:.1f} ms to {even:.1f} ms",
            )


def _latency_of_others(others: list[Target], loaded: list[Target], seconds: float) -> Load:
    """Return the load of four connections to `others` beside 28 connections to `loaded`."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(load.send, loaded, seconds=seconds + 1, connections=28, core=LOAD_CORE)
        time.sleep(0.5)
        result = load.send(others, seconds=seconds, connections=4, core=LOAD_CORE)
        if result.refused or beside.result().refused:
            raise InvalidMeasurement("Not every request was answered with 200.")
    return result
