"""The two databases of the benchmark, and a library that slows down fsync."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.own_postgres import OwnPostgres
from tests.harness.processes import ROOT

SERVER_CORE, LOAD_CORE = 0, 1  # the web process has a core of its own; all others share the other one
SLOW_FSYNC = Path(__file__).with_name("slow_fsync.c")


@dataclass(frozen=True, slots=True)
class Database:
    """One empty, migrated database. `web_environment` holds environment variables for its web processes only."""

    kind: str
    url: str
    data_dir: Path
    web_environment: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that uses it, without the developer's own settings."""
        return {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
            "ENV_FILE": os.devnull,
            "SECRET_KEY": "only-for-the-bench-only-for-the-bench",
            "ENCRYPTION_KEYS": "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmU=",
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self.url,
            "PUBLIC_URL": "http://127.0.0.1:8000",
            "DEMO": "0",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
        }

    def python(self, *arguments: str) -> str:
        """Run Python with this environment, and return its output."""
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment(), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def inside(self, what: str, *numbers: int) -> str:
        """Run a job of inside.py, and return its output."""
        return self.python("-m", "tests.bench.inside", what, *map(str, numbers))


@contextmanager
def sqlite(folder: Path, *, slow_disk: bool = False) -> Iterator[Database]:
    """Create an SQLite file configured like the product's."""
    data_dir = folder / f"sqlite{'-slow' * slow_disk}"
    data_dir.mkdir(parents=True)
    preload = {"LD_PRELOAD": str(slow_fsync(folder))} if slow_disk else {}
    database = Database("sqlite", f"sqlite:///{data_dir / 'bench.sqlite3'}", data_dir, preload)
    database.python("manage.py", "migrate", "--verbosity", "0")
    try:
        yield database
    finally:
        shutil.rmtree(data_dir)


@contextmanager
def postgres(folder: Path, *, slow_disk: bool = False) -> Iterator[Database]:
    """Start a PostgreSQL server on another core than the web process."""
    preload = slow_fsync(folder) if slow_disk else None
    own = OwnPostgres(folder / f"postgres{'-slow' * slow_disk}", preload=preload, core=LOAD_CORE)
    data_dir = folder / f"data-postgres{'-slow' * slow_disk}"
    data_dir.mkdir(parents=True)
    own.start()
    try:
        database = Database("postgres", own.url, data_dir)
        database.python("manage.py", "migrate", "--verbosity", "0")
        yield database
    finally:
        own.stop()
        shutil.rmtree(own.folder)
        shutil.rmtree(data_dir)


def slow_fsync(folder: Path) -> Path:
    """Compile the library that slows down fsync. Raises FileNotFoundError without a C compiler."""
    library = folder / "slow_fsync.so"
    if not library.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("A C compiler (cc) is needed to slow down fsync.")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, SLOW_FSYNC, "-ldl"], check=True)
        library.chmod(0o755)
    return library
