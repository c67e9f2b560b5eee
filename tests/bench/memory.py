"""Memory of a web process after many requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench import load
from tests.bench.databases import LOAD_CORE
from tests.bench.measurement import (
    DOORS,
    BenchDatabase,
    Figure,
    Scale,
    bench_database,
)
from tests.bench.server import Server


def memory(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure the memory of a web process after many requests, against after a tenth of them."""
    with bench_database(kind, folder) as bench:
        for door in DOORS:
            with Server(bench.database, door=door, normalize=True) as server:
                _send_count(bench, server, scale.requests // 10)
                early = server.memory()
                _send_count(bench, server, scale.requests * 9 // 10)
                late = server.memory()
            yield Figure(
                f"memory after {scale.requests:,} requests, against after a tenth of them",
                kind,
                door,
                late / early,
                1.1,
                at_least=False,
                note=f"{late / 2**20:.0f} MiB to {early / 2**20:.0f} MiB",
            )


def _send_count(bench: BenchDatabase, server: Server, count: int) -> None:
    sent = 0
    while sent < count:
        sent += load.send([bench.target(server)], seconds=10 if count > 100_000 else 2, core=LOAD_CORE).answered
