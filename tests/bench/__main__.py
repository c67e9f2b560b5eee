"""`python -m tests.bench`: measure, print the table, and exit with 1 if a figure misses its bound."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import GROUPS
from tests.bench.measurement import DATABASES, FULL, QUICK, Figure, InvalidMeasurement

HEAD = "| what | database | door | measured | must be | | in figures |\n|---|---|---|--:|--:|---|---|"


def row(figure: Figure) -> str:
    """Return one line of the table."""
    bound = f"{'at least' if figure.at_least else 'at most'} {figure.bound:g}{figure.unit}"
    value = f"{figure.value:.2f}{figure.unit}"
    verdict = "yes" if figure.holds else "**NO**"
    return f"| {figure.what} | {figure.database} | {figure.door} | {value} | {bound} | {verdict} | {figure.note} |"


def print_now(text: str) -> None:
    """Print without buffering."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the benchmark. Return 1 if a figure misses its bound, otherwise 0."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take a quarter of an hour instead of two hours")
    parser.add_argument(
        "--only", nargs="+", choices=sorted(GROUPS), default=list(GROUPS), help="measure only these groups"
    )
    parser.add_argument("--databases", nargs="+", choices=sorted(DATABASES), default=list(DATABASES))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and databases are stopped
    scale = QUICK if options.quick else FULL
    print_now(f"{platform.platform()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n\n{HEAD}")
    missed = False
    for group in options.only:
        for kind in options.databases:
            with tempfile.TemporaryDirectory(prefix="hookkeeper-bench-") as name:
                folder = Path(name)
                folder.chmod(0o755)  # PostgreSQL runs as another user
                try:
                    for figure in GROUPS[group](scale, kind, folder):
                        print_now(row(figure))
                        missed = missed or not figure.holds
                except InvalidMeasurement as error:
                    print_now(f"| {group} | {kind} | | | | **NO** | {error} |")
                    missed = True
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
