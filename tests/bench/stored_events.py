"""Throughput with millions of stored events, and while a purge runs and people page through lists."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.bench import load
from tests.bench.databases import LOAD_CORE
from tests.bench.load import Load
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

STORED_ROUNDS = 2  # as many rounds: two databases on one disk waver more than one does
PAGE_SECONDS = 1.0  # seconds that a person looks at a page before asking for the next


def many_stored(scale: Scale, kind: str, folder: Path) -> Iterator[Figure]:
    """Measure requests/s with stored events, then also during a purge with readers."""
    (folder / "empty").mkdir()
    (folder / "empty").chmod(0o755)
    with (
        bench_database(kind, folder, stored=scale.stored) as full,
        bench_database(kind, folder / "empty") as empty,
    ):
        for door in DOORS:
            with Server(full.database, door=door) as one, Server(empty.database, door=door) as other:
                rounds = [
                    _alternating(scale, (full, one), (empty, other), number)
                    for number in range(STORED_ROUNDS * scale.rounds)
                ]
            rate, alone = (statistics.median(pair[side].rate for pair in rounds) for side in (0, 1))
            yield Figure(
                f"requests/s with {scale.stored:,} events stored, against empty tables",
                kind,
                door,
                median(one.rate / other.rate for one, other in rounds),
                0.85,
                note=f"{rate:,.0f} to {alone:,.0f}",
            )
        for door in DOORS:  # last, since a purge changes how much is stored
            with Server(full.database, door=door) as server:
                yield _while_purging(scale, full, server, door)


def _alternating(
    scale: Scale, one: tuple[BenchDatabase, Server], other: tuple[BenchDatabase, Server], number: int
) -> tuple[Load, Load]:
    """Measure both sides, each first in every other round.

    The second side shares the disk with what the first side's database still writes.
    """
    if number % 2:
        later = measure(*other, scale.seconds)
        return measure(*one, scale.seconds), later
    return measure(*one, scale.seconds), measure(*other, scale.seconds)


def _while_purging(scale: Scale, bench: BenchDatabase, server: Server, door: str) -> Figure:
    """Measure while a purge runs and staff page through lists on the same server."""
    alone, beside, pages = [], [], 0
    for _ in range(scale.rounds):
        alone.append(measure(bench, server, scale.seconds).rate)
        with background_job(bench.database, "purge"), PageReaders(bench, server) as readers:
            # Rows are deleted meanwhile, so they cannot be counted.
            result = load.send([bench.target(server)], seconds=scale.seconds, core=LOAD_CORE)
            if result.refused:
                raise InvalidMeasurement(
                    f"{result.refused} requests were not answered with 200 beside a purge and readers."
                )
            beside.append(result.rate)
        pages += readers.pages
    return Figure(
        "requests/s while a purge runs and staff page through lists, against undisturbed",
        bench.database.kind,
        door,
        median(one / other for one, other in zip(beside, alone, strict=True)),
        0.6,
        note=f"{statistics.median(beside):,.0f} to {statistics.median(alone):,.0f}; {pages} pages read",
    )


class PageReaders:
    """Two users who page through the lists of requests and events."""

    def __init__(self, bench: BenchDatabase, server: Server) -> None:
        self.pages = 0
        self._session = bench.database.inside("log_in")
        self._port = server.port
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self) -> PageReaders:
        paths = ("/admin/events/webhookrequest/", "/admin/events/event/")
        self._readings = [self._pool.submit(self._read, path) for path in paths]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.pages += sum(reading.result() for reading in self._readings)

    def _read(self, path: str) -> int:
        url, pages = f"http://127.0.0.1:{self._port}{path}", 0
        while not self._stop.is_set():
            page = requests.get(url, cookies={"sessionid": self._session}, timeout=30, allow_redirects=False)
            if page.status_code != 200:
                raise InvalidMeasurement(f"{url} answered {page.status_code}.")
            pages += 1
            self._stop.wait(PAGE_SECONDS)
        return pages
