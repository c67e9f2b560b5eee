"""`python -m tests.bench`: measures, prints the table, and exits with 1 when a figure falls short."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.figures import DATABASES, FULL, GROUPS, QUICK, Figure, Wrong

HEAD = "| what | database | door | measured | must be | | in figures |\n|---|---|---|--:|--:|---|---|"


def row(figure: Figure) -> str:
    """One line of the table."""
    bound = f"{'at least' if figure.at_least else 'at most'} {figure.bound:g}{figure.unit}"
    value = f"{figure.value:.2f}{figure.unit}"
    verdict = "yes" if figure.holds else "**NO**"
    return f"| {figure.what} | {figure.database} | {figure.door} | {value} | {bound} | {verdict} | {figure.note} |"


def say(text: str) -> None:
    """Prints at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """The number of figures that fall short, at most 1."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look that takes a quarter of an hour")
    parser.add_argument("--only", nargs="+", choices=sorted(GROUPS), default=list(GROUPS), help="these groups")
    parser.add_argument("--databases", nargs="+", choices=sorted(DATABASES), default=list(DATABASES))
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and databases end with us
    effort = QUICK if chosen.quick else FULL
    say(f"{platform.platform()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n\n{HEAD}")
    short = False
    for group in chosen.only:
        for kind in chosen.databases:
            with tempfile.TemporaryDirectory(prefix="hookkeeper-bench-") as name:
                folder = Path(name)
                folder.chmod(0o755)  # PostgreSQL runs as another user
                try:
                    for figure in GROUPS[group](effort, kind, folder):
                        say(row(figure))
                        short = short or not figure.holds
                except Wrong as error:
                    say(f"| {group} | {kind} | | | | **NO** | {error} |")
                    short = True
    return int(short)


if __name__ == "__main__":
    sys.exit(main())
