"""How the web process is started: granian, with threads."""

from __future__ import annotations

import sys

THREADS = 32  # more than may wait for bodies at once (events/storage/body.py)
# Who sends headers slowly or without end is cut off; see docs/receiver.md.
HEADER_SECONDS = 10
HEADER_BYTES = 65536


def command(host: str, port: int, *, application: str = "config.wsgi:application") -> list[str]:
    """The command of one web process that listens there."""
    server = f"-m granian --interface wsgi --workers 1 --blocking-threads {THREADS} --no-ws --log-level error"
    limits = f"--http1-header-read-timeout {HEADER_SECONDS * 1000} --http1-buffer-size {HEADER_BYTES}"
    address = ["--host", host, "--port", str(port), application]
    return [sys.executable, *server.split(), *limits.split(), *address]
