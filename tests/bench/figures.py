"""The groups of figures. Each figure is a ratio, mostly the median of several rounds in which both sides alternate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bench.end_to_end import end_to_end
from tests.bench.fairness import fairness
from tests.bench.measurement import Figure, Scale
from tests.bench.memory import memory
from tests.bench.stored_events import many_stored
from tests.bench.throughput import rates, slow_disk

GROUPS: Mapping[str, Callable[[Scale, str, Path], Iterator[Figure]]] = {
    "rates": rates,
    "slow-disk": slow_disk,
    "many-stored": many_stored,
    "fairness": fairness,
    "memory": memory,
    "whole": end_to_end,
}
