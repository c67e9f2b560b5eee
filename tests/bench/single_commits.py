"""Commit one row at a time on one connection, and print rows per second. Runs in a process of its own.

The rows are as large as the receiver's, in a table without indexes except its key. This is the upper limit for storing
durably one row at a time on this machine.
"""

from __future__ import annotations

import sqlite3
import sys
import time

import psycopg

from tests.bench.load import body

TABLE = "CREATE TABLE IF NOT EXISTS single_commits (id {key} PRIMARY KEY, headers TEXT, body {bytes})"
HEADERS = '[["Content-Type","application/json"],["Content-Length","1024"],["Authorization","***"],["Host","127.0.0.1"]]'


def main(url: str, seconds: float) -> float:
    """Return commits per second."""
    kind, _, rest = url.partition("://")
    if kind == "sqlite":
        return _sqlite(rest.removeprefix("/"), seconds)
    return _postgres(url, seconds)


def _sqlite(path: str, seconds: float) -> float:
    connection = sqlite3.connect(f"/{path.lstrip('/')}", timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE.format(key="INTEGER", bytes="BLOB"))
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        row = (HEADERS, body(str(count)))
        connection.execute("INSERT INTO single_commits (headers, body) VALUES (?, ?)", row)
        count += 1
    return count / passed


def _postgres(url: str, seconds: float) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE.format(key="BIGSERIAL", bytes="BYTEA"))
        count, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            row = (HEADERS, body(str(count)))
            connection.execute("INSERT INTO single_commits (headers, body) VALUES (%s, %s)", row, prepare=True)
            count += 1
        return count / passed


if __name__ == "__main__":
    sys.stdout.write(str(main(sys.argv[1], float(sys.argv[2]))))
