"""The environment of the tests, loaded by pytest before anything reads the settings.

Neither the developer's environment nor a `.env` changes what is tested. Without TEST_DATABASE_URL the tests use a
SQLite file: threads and other processes must be able to share it.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

DATA_DIR = Path(tempfile.mkdtemp(prefix="hookkeeper-tests-"))
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
FOREIGN_SETTINGS = (
    "ALLOWED_HOSTS",
    "EMAIL_URL",
    "EMAIL_FROM",
    "ALLOW_PRIVATE_NETWORKS",
    "TRUSTED_PROXIES",
    "ADMIN_PASSWORD",
    "HOST",
)

TEST_SETTINGS = {
    "ENV_FILE": os.devnull,
    "SECRET_KEY": "only-for-tests-only-for-tests-0123456789",
    "ENCRYPTION_KEYS": "dGVzdHMtb25seS10ZXN0cy1vbmx5LXRlc3RzLW9ubHk=",
    "DATA_DIR": str(DATA_DIR),
    "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{DATA_DIR / 'unused.sqlite3'}",
    "CELERY_BROKER_URL": os.environ.get("TEST_BROKER_URL") or "embedded://",
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "PORT": "8000",
    "SANDBOX_PORT": "8010",
    "DEMO": "1",
    "DEBUG": "0",
    "LOG_LEVEL": "INFO",
    "MAX_BODY_BYTES": str(10 * 1024 * 1024),
}

os.environ.update(TEST_SETTINGS)
# Fewer random examples than by default; CI asks for more.
hypothesis_settings.register_profile("brief", max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "30")))
hypothesis_settings.load_profile("brief")
# The tests start many processes, each of which would compile the product again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for name in FOREIGN_SETTINGS:
    os.environ.pop(name, None)


def pytest_configure(config: pytest.Config) -> None:
    """Change the settings that differ in tests."""
    from django.conf import settings

    # Static files are found when they are asked for. Otherwise each test client would search all packages for them.
    settings.WHITENOISE_AUTOREFRESH = True
    # Slow password hashing would take most of a test run's time.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Tests normalize requests themselves: during a test's transaction, SQLite lets no other thread write.
    settings.NORMALIZE_IN_THREAD = False
    # For the same reason, requests are stored in the test's transaction.
    settings.RECEIVE_IN_THREADS = False
    settings.WATCH_IN_THREAD = False
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database.setdefault("TEST", {})["NAME"] = str(DATA_DIR / "tests.sqlite3")
    else:
        # Unique, so that two runs against one server do not collide.
        database.setdefault("TEST", {})["NAME"] = f"test_hookkeeper_{os.getpid()}"


@pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order stays within each half
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow tests first, so that no process waits for another one's last test."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slow", "e2e", "browser", "crash"))))


# What was collected stays until the end. Looking through it for garbage took a seventh of a run's time.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave what was collected out of garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()
