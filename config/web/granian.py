"""The command that starts the web process: granian, with threads."""

from __future__ import annotations

import sys

# More than may read webhook bodies (events/storage/body.py) and serve other requests (config/web/receiver_entry.py)
# at once, so that a thread is left for /livez.
THREADS = 48
# Connections that send headers slowly or without end are closed; see docs/receiver.md.
HEADER_SECONDS = 10
HEADER_BYTES = 65536


def command(host: str, port: int, *, application: str = "config.wsgi:application") -> list[str]:
    """Return the command of a web process that listens on `host` and `port`."""
    server = f"-m granian --interface wsgi --workers 1 --blocking-threads {THREADS} --no-ws --log-level error"
    limits = f"--http1-header-read-timeout {HEADER_SECONDS * 1000} --http1-buffer-size {HEADER_BYTES}"
    address = ["--host", host, "--port", str(port), application]
    return [sys.executable, *server.split(), *limits.split(), *address]
