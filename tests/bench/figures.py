"""What is measured. Each figure is a ratio, mostly the median of several rounds in which the sides take turns."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from tests.bench import load
from tests.bench.databases import LOAD_CORE, SERVER_CORE, Database, postgres, sqlite
from tests.bench.load import Load, Target
from tests.bench.server import Server
from tests.harness.processes import ROOT

DOORS = ("drf", "wsgi")
DATABASES = {"sqlite": sqlite, "postgres": postgres}
TIMES_STORED = 2  # as many rounds: two databases on one disk waver more than one does
READS = 1.0  # seconds that a person looks at a page before asking for the next


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: the full measure, or a quick look."""

    rounds: int
    seconds: float  # of one load in one round
    stored: int  # events in the filled table
    sustained: float  # seconds of receiving and normalising
    sustained_rounds: int
    requests: int  # before the memory is looked at again
    steady: float  # seconds at the steady rate


FULL = Effort(rounds=5, seconds=5, stored=10_000_000, sustained=60, sustained_rounds=3, requests=1_000_000, steady=30)
QUICK = Effort(rounds=3, seconds=2, stored=2_000_000, sustained=10, sustained_rounds=1, requests=50_000, steady=5)


@dataclass(frozen=True, slots=True)
class Figure:
    """One cell of the table."""

    what: str
    database: str
    door: str
    value: float
    bound: float
    at_least: bool = True  # or at most
    unit: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it reaches what it must."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Wrong(AssertionError):
    """What was measured did not do its work, so its speed means nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database with subscriptions to send to, as (token, secret)."""

    database: Database
    subscriptions: tuple[tuple[str, str], ...]

    def target(self, server: Server, number: int = 0) -> Target:
        """Where one of them is reached."""
        return server.target(*self.subscriptions[number])

    def rows(self) -> int:
        """How many requests are stored."""
        return int(self.database.inside("stored"))


@contextlib.contextmanager
def place(
    kind: str, folder: Path, *, subscriptions: int = 1, slow_disk: bool = False, stored: int = 0
) -> Iterator[Place]:
    """A new database of that kind."""
    with DATABASES[kind](folder, slow_disk=slow_disk) as database:
        made = json.loads(database.inside("prepare", subscriptions))
        if stored:
            database.python("-m", "tests.bench.fill", str(stored))
        yield Place(database, tuple((token, secret) for token, secret in made))


def measured(where: Place, server: Server, seconds: float, *, stores: bool = True) -> Load:
    """One load on the first subscription. Raises Wrong when not every answer was 200, or not every 200 is a row."""
    before = where.rows() if stores else 0
    result = load.send([where.target(server)], seconds=seconds, core=LOAD_CORE)
    if result.refused:
        raise Wrong(f"{result.refused} requests were not answered with 200, {result.answered} were.")
    if stores:
        rows = where.rows() - before
        # What was under way at the end is stored, and its answer was not waited for; some of it was sent just then.
        if not result.answered <= rows <= result.answered + 2 * load.CONNECTIONS:
            raise Wrong(f"{result.answered} requests were answered with 200, and {rows} rows were stored.")
    return result


def rates(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """Against the same door without the write, against the usual way, and against one row a commit."""
    sides = [*((door, mode) for door in DOORS for mode in ("full", "floor")), ("drf", "create")]
    rounds: list[dict[tuple[str, str], Load]] = []
    commits: list[float] = []
    with place(kind, folder) as where:
        for _ in range(effort.rounds):
            rounds.append({(door, mode): _alone(where, door, mode, effort.seconds) for door, mode in sides})
            commits.append(single_commits(where.database, effort.seconds))
    yield from _compared(kind, rounds, commits)


def _alone(where: Place, door: str, mode: str, seconds: float) -> Load:
    """One load, by a server of its own: others, however idle, would take time of its core."""
    with Server(where.database, door=door, mode=mode) as server:
        load.send([where.target(server)], seconds=1, core=LOAD_CORE)  # until everything is in its caches
        return measured(where, server, seconds, stores=mode != "floor")


def _compared(kind: str, rounds: list[dict[tuple[str, str], Load]], commits: list[float]) -> Iterator[Figure]:
    bounds = {"drf": (0.5, 10, 0.9), "wsgi": (0.6, 20, 1.8)}
    single, usual = statistics.median(commits), _rate(rounds, ("drf", "create"))
    for door in DOORS:
        rate, floor = _rate(rounds, (door, "full")), _rate(rounds, (door, "floor"))
        against_floor, against_usual, against_single = bounds[door]
        yield Figure(
            "requests/s, against the same without the write",
            kind,
            door,
            _median(one[door, "full"].rate / one[door, "floor"].rate for one in rounds),
            against_floor,
            note=f"{rate:,.0f} to {floor:,.0f}",
        )
        yield Figure(
            "requests/s, against one ORM create per request",
            kind,
            door,
            _median(one[door, "full"].rate / one["drf", "create"].rate for one in rounds),
            against_usual,
            note=f"{rate:,.0f} to {usual:,.0f}",
        )
        yield Figure(
            "requests/s, against single-row commits on one connection",
            kind,
            door,
            _median(one[door, "full"].rate / of_one for one, of_one in zip(rounds, commits, strict=True)),
            against_single,
            note=f"{rate:,.0f} to {single:,.0f}",
        )
        slow, slow_floor = (_median(one[door, mode].p99 for one in rounds) for mode in ("full", "floor"))
        yield Figure(
            "p99 at 32 connections, against the same without the write",
            kind,
            door,
            _median(one[door, "full"].p99 / one[door, "floor"].p99 for one in rounds),
            4,
            at_least=False,
            note=f"{slow:.1f} ms to {slow_floor:.1f} ms",
        )


def slow_disk(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """Each fsync takes 2 ms longer."""
    with place(kind, folder, slow_disk=True) as where:
        for door in DOORS:
            with (
                Server(where.database, door=door) as grouped,
                Server(where.database, door=door, mode="insert") as single,
            ):
                rounds = [
                    (measured(where, grouped, effort.seconds), measured(where, single, effort.seconds))
                    for _ in range(effort.rounds)
                ]
            rate, alone = (statistics.median(one[side].rate for one in rounds) for side in (0, 1))
            yield Figure(
                "requests/s with 2 ms longer fsyncs, against one INSERT per request",
                kind,
                door,
                _median(one.rate / other.rate for one, other in rounds),
                {"sqlite": 5, "postgres": 2}[kind],
                note=f"{rate:,.0f} to {alone:,.0f}",
            )


def many_stored(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """Ten million events are there already; and then a purge and people who read."""
    (folder / "empty").mkdir()
    (folder / "empty").chmod(0o755)
    with (
        place(kind, folder, stored=effort.stored) as full,
        place(kind, folder / "empty") as empty,
    ):
        for door in DOORS:
            with Server(full.database, door=door) as one, Server(empty.database, door=door) as other:
                rounds = [
                    _in_turns(effort, (full, one), (empty, other), number)
                    for number in range(TIMES_STORED * effort.rounds)
                ]
            rate, alone = (statistics.median(pair[side].rate for pair in rounds) for side in (0, 1))
            yield Figure(
                f"requests/s with {effort.stored:,} events stored, against empty tables",
                kind,
                door,
                _median(one.rate / other.rate for one, other in rounds),
                0.85,
                note=f"{rate:,.0f} to {alone:,.0f}",
            )
        for door in DOORS:  # only now: what a purge leaves behind is no matter of how much is stored
            with Server(full.database, door=door) as server:
                yield _disturbed(effort, full, server, door)


def _in_turns(effort: Effort, one: tuple[Place, Server], other: tuple[Place, Server], number: int) -> tuple[Load, Load]:
    """The loads on both. Who comes second shares the disk with what the first one's database still writes, so each is
    first in every other round."""
    if number % 2:
        later = measured(*other, effort.seconds)
        return measured(*one, effort.seconds), later
    return measured(*one, effort.seconds), measured(*other, effort.seconds)


def _disturbed(effort: Effort, where: Place, server: Server, door: str) -> Figure:
    """A purge runs and staff page through lists, on the same server."""
    alone, beside, pages = [], [], 0
    for _ in range(effort.rounds):
        alone.append(measured(where, server, effort.seconds).rate)
        with _beside(where.database, "purge"), _Readers(where, server) as readers:
            # Rows go while others come: they cannot be counted.
            result = load.send([where.target(server)], seconds=effort.seconds, core=LOAD_CORE)
            if result.refused:
                raise Wrong(f"{result.refused} requests were not answered with 200 beside a purge and readers.")
            beside.append(result.rate)
        pages += readers.pages
    return Figure(
        "requests/s while a purge runs and staff page through lists, against undisturbed",
        where.database.kind,
        door,
        _median(one / other for one, other in zip(beside, alone, strict=True)),
        0.6,
        note=f"{statistics.median(beside):,.0f} to {statistics.median(alone):,.0f}; {pages} pages read",
    )


@contextlib.contextmanager
def _beside(database: Database, job: str) -> Iterator[None]:
    process = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "tests.bench.inside", job],
        env=database.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    try:
        yield
        if process.poll() is not None:
            raise Wrong(f"The {job} ended before the load did.")
    finally:
        process.terminate()
        process.wait()


class _Readers:
    """Two people who go through the lists of requests and events, page by page."""

    def __init__(self, where: Place, server: Server) -> None:
        self.pages = 0
        self._session = where.database.inside("log_in")
        self._port = server.port
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)

    def __enter__(self) -> _Readers:
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
                raise Wrong(f"{url} answered {page.status_code}.")
            pages += 1
            self._stop.wait(READS)
        return pages


def fairness(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """200 subscriptions. The same load on all of them alike, and then on one: how long the others wait."""
    with place(kind, folder, subscriptions=200) as where:
        for door in DOORS:
            with Server(where.database, door=door, normalise=True) as server:
                everyone = [where.target(server, number) for number in range(200)]
                rounds = [
                    (
                        _others(everyone[1:], everyone[:1], effort.seconds),
                        _others(everyone[1:], everyone, effort.seconds),
                    )
                    for _ in range(effort.rounds)
                ]
            flooded, even = (statistics.median(pair[side].p99 for pair in rounds) for side in (0, 1))
            yield Figure(
                "p99 of 199 subscriptions while another floods, against the same load on all alike",
                kind,
                door,
                _median(one.p99 / other.p99 for one, other in rounds),
                2,
                at_least=False,
                note=f"{flooded:.1f} ms to {even:.1f} ms",
            )


def _others(others: list[Target], loaded: list[Target], seconds: float) -> Load:
    """What four connections to `others` see beside 28 to `loaded`."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(load.send, loaded, seconds=seconds + 1, connections=28, core=LOAD_CORE)
        time.sleep(0.5)
        result = load.send(others, seconds=seconds, connections=4, core=LOAD_CORE)
        if result.refused or beside.result().refused:
            raise Wrong("Not every request was answered with 200.")
    return result


def memory(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """What a web process holds after many requests, against after a tenth of them."""
    with place(kind, folder) as where:
        for door in DOORS:
            with Server(where.database, door=door, normalise=True) as server:
                _send_so_many(where, server, effort.requests // 10)
                early = server.memory()
                _send_so_many(where, server, effort.requests * 9 // 10)
                late = server.memory()
            yield Figure(
                f"memory after {effort.requests:,} requests, against after a tenth of them",
                kind,
                door,
                late / early,
                1.1,
                at_least=False,
                note=f"{late / 2**20:.0f} MiB to {early / 2**20:.0f} MiB",
            )


def _send_so_many(where: Place, server: Server, count: int) -> None:
    sent = 0
    while sent < count:
        sent += load.send([where.target(server)], seconds=10 if count > 100_000 else 2, core=LOAD_CORE).answered


def whole(effort: Effort, kind: str, folder: Path) -> Iterator[Figure]:
    """Receiving and normalising together, and how soon events are in the feed."""
    with place(kind, folder) as where:
        for door in DOORS:
            rounds = [_sustained(effort, where, door) for _ in range(effort.sustained_rounds)]
            rate, alone = (statistics.median(getattr(one, side) for one in rounds) for side in ("rate", "alone"))
            waiting, gone = (max(getattr(one, what) for one in rounds) for what in ("waiting", "gone"))
            yield Figure(
                f"requests/s with normalising for {effort.sustained:.0f} s, against receiving alone",
                kind,
                door,
                _median(one.rate / one.alone for one in rounds),
                0.5,
                note=f"{rate:,.0f} to {alone:,.0f}; at most {waiting} waited at the end, gone in {gone:.1f} s",
            )
            yield Figure("seconds until the backlog is gone", kind, door, gone, 10, at_least=False, unit=" s")
            with _normalising(where, door) as server:
                yield from _to_the_feed(effort, where, server, door)


@dataclass(frozen=True, slots=True)
class _Sustained:
    """Requests a second, with normalising and alone, and what waited to be read at the end."""

    rate: float
    alone: float
    waiting: int
    gone: float  # seconds until nothing waited


def _sustained(effort: Effort, where: Place, door: str) -> _Sustained:
    """Receiving alone is measured before and after: with as few rows and as many, and on a machine whose speed
    wavers."""
    before = _receiving_alone(where, door, effort.sustained / 6)
    with _normalising(where, door) as server:
        both = measured(where, server, effort.sustained)
        ended = time.monotonic()
        waiting = still = int(where.database.inside("waiting"))
        while still:
            if time.monotonic() - ended > 120:
                raise Wrong("The backlog of requests without events does not go.")
            time.sleep(0.2)
            still = int(where.database.inside("waiting"))
        gone = time.monotonic() - ended
    after = _receiving_alone(where, door, effort.sustained / 6)
    return _Sustained(both.rate, (before + after) / 2, waiting, gone)


def _receiving_alone(where: Place, door: str, seconds: float) -> float:
    with Server(where.database, door=door) as server:
        rate = measured(where, server, seconds).rate
    where.database.inside("normalise")
    return rate


@contextlib.contextmanager
def _normalising(where: Place, door: str) -> Iterator[Server]:
    """A web process that normalises, and what the worker does beside it."""
    with _beside(where.database, "poll"), Server(where.database, door=door, normalise=True) as server:
        yield server


def _to_the_feed(effort: Effort, where: Place, server: Server, door: str) -> Iterator[Figure]:
    job = {"target": asdict(where.target(server)), "rate": 500, "seconds": effort.steady}
    found = json.loads(where.database.python("-m", "tests.bench.latency", json.dumps(job)))
    if found["lost"]:
        raise Wrong(f"{found['lost']} events never came to the feed.")
    kind = where.database.kind
    for part, bound in (("median", 100), ("p99", 1000)):
        what = f"from POST to the feed at 500/s, {part}"
        yield Figure(what, kind, door, found[part], bound, at_least=False, unit=" ms")


def single_commits(database: Database, seconds: float) -> float:
    """Rows a second, one commit each, on one connection; pinned as the server is."""
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


def _rate(rounds: list[dict[tuple[str, str], Load]], key: tuple[str, str]) -> float:
    return statistics.median(one[key].rate for one in rounds)


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


GROUPS: Mapping[str, Callable[[Effort, str, Path], Iterator[Figure]]] = {
    "rates": rates,
    "slow-disk": slow_disk,
    "many-stored": many_stored,
    "fairness": fairness,
    "memory": memory,
    "whole": whole,
}
