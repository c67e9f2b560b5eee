"""Measure reconciling 10,000 healthy subscriptions of 200 accounts: `python -m tests.bench.reconcile_pass`.

The provider runs in this process, so the time is Hookkeeper's alone. Prints a table. DATABASE_URL selects the database,
which must be empty (default: SQLite in a temporary folder).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import django
from django.core.management import call_command

from tests.bench.databases import Database

HEAD = "| what | queries | writes | provider calls | seconds |\n|---|--:|--:|--:|--:|"


def main() -> None:
    """Fill a database and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.reconcile_pass", description=__doc__)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--each", type=int, default=50, help="subscriptions per account")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hookkeeper-bench-") as name:
        url = os.environ.get("DATABASE_URL") or f"sqlite:///{name}/bench.sqlite3"
        os.environ.update(Database("bench", url, Path(name)).environment())
        django.setup()
        call_command("migrate", verbosity=0)
        measure(chosen.accounts, chosen.each)


def measure(accounts: int, each: int) -> None:
    """Print the table."""
    from subscriptions.problems.detector import detect
    from subscriptions.reconciliation.sweep import sweep_inline
    from tests.harness.many_subscriptions import ListingProvider, cost_of, make_all_due

    provider = ListingProvider(details=True)
    with provider.serving():
        provider.fill(accounts, each)
        sys.stdout.write(f"{accounts * each} subscriptions of {accounts} accounts, nothing due.\n\n{HEAD}\n")
        for what, work in (
            ("a sweep, nothing due", sweep_inline),
            ("a full pass: every account looked at", sweep_inline),
            ("a second full pass", sweep_inline),
            ("a pass over the problems", detect),
        ):
            if "full" in what:
                make_all_due()
            cost = cost_of(provider, work)
            sys.stdout.write(f"| {what} | {cost.queries} | {cost.writes} | {cost.calls} | {cost.seconds:.2f} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
