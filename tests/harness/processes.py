"""Run code in a separate process on the test database, so that it can be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """Return the DATABASE_URL of this test's database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    login = quote(database["USER"]) + (f":{quote(database['PASSWORD'])}" if database["PASSWORD"] else "")
    return f"postgresql://{login}@{database['HOST'] or 'localhost'}:{database['PORT'] or 5432}/{database['NAME']}"


def environment(**changes: str) -> dict[str, str]:
    """Return the environment for a separate process: the settings of this test run with the given changes."""
    return {**os.environ, "DATABASE_URL": database_url(), "PUBLIC_URL": settings.PUBLIC_URL, **changes}


def run_python(code: str, *, timeout: float = 60, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run code with Django set up, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT,
        env=environment(DJANGO_SETTINGS_MODULE="config.settings", **changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
