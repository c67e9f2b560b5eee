"""No accepted request is lost: after any kill, every body is stored exactly once, byte for byte.

The normal test run does a few rounds; `make crash` does many (CRASH_ROUNDS).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from config.web import granian
from events import tasks
from events.models import Event, WebhookRequest
from events.processing import normalize
from events.receiver.spool.file import Spool
from events.receiver.spool.status import spool_status
from subscriptions.models import Subscription
from tests.harness.crashing import Load, WebProcess, assert_events_counted, assert_stored_once
from tests.harness.own_postgres import MissingPostgres, OwnPostgres, programs
from tests.harness.processes import ROOT, environment, run_python
from tests.harness.receiving import make_row

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "1"))
IS_SQLITE = connection.vendor == "sqlite"

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.crash, pytest.mark.timeout(120 + 60 * ROUNDS)]


@pytest.fixture
def web(egnyte_subscription: Subscription, spool_folder: Path) -> Iterator[WebProcess]:
    running = WebProcess(spool_folder.parent / "web.log", DATA_DIR=str(spool_folder.parent))
    try:
        yield running
    finally:
        running.kill()
        assert "Traceback" not in running.log.read_text()


def wait_until_drained(seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while spool_status().requests:
        assert time.monotonic() < deadline, spool_status()
        time.sleep(0.05)


def test_kill_the_web_process(web: WebProcess, egnyte_subscription: Subscription) -> None:
    load = Load(egnyte_subscription, web.port)
    for _ in range(ROUNDS):
        web.start()
        with load.running():
            load.wait_for_more(random.randint(20, 200))
            web.kill()
    tasks.drain_spool()
    assert_stored_once(load)
    assert set(load.statuses) <= {200, None}


@pytest.mark.skipif(not IS_SQLITE, reason="SQLite has one lock for all writers")
def test_kill_the_web_process_while_the_database_is_locked(web: WebProcess, egnyte_subscription: Subscription) -> None:
    load = Load(egnyte_subscription, web.port)
    for _ in range(ROUNDS):
        web.start()
        with load.running():
            load.wait_for_more(20)
            holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, timeout=30)
            holder.execute("BEGIN IMMEDIATE")
            load.wait_for_more(100)
            web.kill()
            holder.close()
    assert spool_status().requests
    web.start()
    with load.running():
        load.wait_for_more(20)
        wait_until_drained()
    assert_stored_once(load)
    assert set(load.statuses) <= {200, None}


def test_two_web_processes_store_each_request_once(
    web: WebProcess, egnyte_subscription: Subscription, spool_folder: Path
) -> None:
    """Two web processes are usual with PostgreSQL and possible with SQLite."""
    second = WebProcess(spool_folder.parent / "second.log", DATA_DIR=str(spool_folder.parent))
    web.start()
    second.start()
    try:
        load = Load(egnyte_subscription, web.port, second.port, copies=2)
        with load.running():
            load.wait_for_more(150 * ROUNDS)
        wait_until_drained()
    finally:
        second.kill()
        web.kill()
    assert_stored_once(load)
    assert set(load.statuses) == {200}
    normalize.normalize_pending()  # as the worker does
    bodies = [bytes(body) for body in WebhookRequest.objects.values_list("body", flat=True)]
    assert_events_counted(bodies, Event.objects.values_list("provider_event_id", "duplicates"))


DRAIN = """
from events import tasks
print(tasks.drain_spool(), flush=True)
"""


def test_kill_the_drainer(egnyte_subscription: Subscription, spool_folder: Path) -> None:
    rows = [make_row(egnyte_subscription, os.urandom(3000)) for _ in range(3000)]
    spool = Spool()
    for start in range(0, len(rows), 50):
        spool.append(rows[start : start + 50])
    spool.close()
    env = environment(DJANGO_SETTINGS_MODULE="config.settings", DATA_DIR=str(spool_folder.parent))
    for _ in range(ROUNDS):
        before = WebhookRequest.objects.count()
        command = [sys.executable, "-c", f"import django; django.setup()\n{DRAIN}"]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
        while WebhookRequest.objects.count() == before and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    tasks.drain_spool()
    stored = list(WebhookRequest.objects.order_by("id").values_list("uid", "body"))
    assert [(uid, bytes(body)) for uid, body in stored] == [(row.uid, row.body) for row in rows]
    assert list(spool_folder.iterdir()) == []


# -- With a temporary PostgreSQL server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    try:
        programs()
    except MissingPostgres as error:
        pytest.skip(str(error))
    # Not in pytest's folder: other runs of pytest remove the permissions that the server's user needs there.
    with tempfile.TemporaryDirectory(prefix="hookkeeper-") as folder:
        Path(folder).chmod(0o711)
        server = OwnPostgres(Path(folder) / "postgres").start()
        try:
            yield server
        finally:
            server.kill()


CREATE_SUBSCRIPTION = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("flush", interactive=False, inhibit_post_migrate=True, verbosity=0)  # what an earlier test left
from providers.models import ProviderAccount
from subscriptions.models import Subscription
account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
subscription = Subscription.objects.create(account=account, due_at=None)
print(subscription.token, subscription.secrets[0])
"""


@dataclass
class Installation:
    """Two web processes with a PostgreSQL server that can be killed, and the load on both."""

    url: str
    webs: list[WebProcess]
    load: Load

    def assert_nothing_lost(self) -> None:
        """Assert that each accepted request is stored once, and its event too."""
        wait_until_drained()
        for web in self.webs:
            web.kill()
        # After many rounds, tens of thousands are pending. Half are duplicates, which take a few milliseconds each.
        normalize_all = "from events.processing.normalize import normalize_pending\nnormalize_pending()"
        normalized = run_python(normalize_all, timeout=600, DATABASE_URL=self.url)
        assert normalized.returncode == 0, normalized.stderr
        with psycopg.connect(self.url) as database:
            bodies = [bytes(row[0]) for row in database.execute("SELECT body FROM events_webhookrequest")]
            events = database.execute("SELECT provider_event_id, duplicates FROM events_event").fetchall()
        assert len(bodies) == len(set(bodies))
        assert set(bodies) >= set(self.load.accepted)
        assert_events_counted(bodies, events)
        assert set(self.load.statuses) == {200}  # during the whole test


@pytest.fixture
def installation(postgres: OwnPostgres, spool_folder: Path) -> Iterator[Installation]:
    prepared = run_python(CREATE_SUBSCRIPTION, DATABASE_URL=postgres.url)
    assert prepared.returncode == 0, prepared.stderr
    token, _, secret = prepared.stdout.strip().partition(" ")
    settings: Any = {"DATA_DIR": str(spool_folder.parent), "DATABASE_URL": postgres.url}
    webs = [WebProcess(spool_folder.parent / f"web{number}.log", **settings) for number in range(2)]
    load = Load(Subscription(token=token, secrets=[secret]), *(web.port for web in webs), copies=2)
    try:
        for web in webs:
            web.start()
        yield Installation(postgres.url, webs, load)
    finally:
        for web in webs:
            web.kill()


@pytest.mark.skipif(not IS_SQLITE, reason="runs once, with its own server")
@pytest.mark.xdist_group("own PostgreSQL")
def test_kill_the_database_server(postgres: OwnPostgres, installation: Installation) -> None:
    load = installation.load
    with load.running():
        for _ in range(ROUNDS):
            load.wait_for_more(50)
            postgres.kill()
            load.wait_for_more(50)
            postgres.start()
        load.wait_for_more(50)
    installation.assert_nothing_lost()


@pytest.mark.xdist_group("own PostgreSQL")
@pytest.mark.skipif(not IS_SQLITE, reason="runs once, with its own server")
def test_hanging_database_server(postgres: OwnPostgres, installation: Installation) -> None:
    """While the server hangs, requests go to the spool, and pages leave threads for webhooks.

    A request may be both spooled and, once the server continues, committed.
    """
    load, web = installation.load, installation.webs[0]
    with ThreadPoolExecutor(64) as pool:  # so that the threads there have connections that will hang
        assert list(pool.map(web.status, ["/readyz"] * 256)).count(200) > granian.THREADS
    with load.running():
        for _ in range(ROUNDS):
            load.wait_for_more(50)
            postgres.freeze()
            pages = [threading.Thread(target=web.status, args=("/readyz",)) for _ in range(2 * granian.THREADS)]
            for page in pages:
                page.start()
            try:
                load.wait_for_more(300, seconds=10)
                assert web.status("/livez") == 200
            finally:
                postgres.thaw()
                for page in pages:
                    page.join()
        load.wait_for_more(50)
    installation.assert_nothing_lost()


# -- On a separate file system -----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 MiB. Skips where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here; test_spool_file.py injects the errors instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(not IS_SQLITE, reason="the database has to be on the small disk")
def test_disk_full_or_read_only(egnyte_subscription: Subscription, small_disk: Path, settings: Settings) -> None:
    settings.DATA_DIR = small_disk
    database = small_disk / "hookkeeper.sqlite3"
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(database)])
    web = WebProcess(small_disk.parent / "web.log", DATA_DIR=str(small_disk), DATABASE_URL=f"sqlite:///{database}")
    load = Load(egnyte_subscription, web.port)
    web.start()
    try:
        with load.running():
            load.wait_for_more(50)
            fill_disk(small_disk / "filler")
            load.wait_for_more(300)
        assert set(load.statuses) == {200}
        (small_disk / "filler").unlink()
        wait_until_drained()
        web.kill()  # open files would prevent mounting it again
        remount(small_disk, "ro")
        web.start()
        with load.running():
            deadline = time.monotonic() + 20
            while not load.statuses[503]:
                assert time.monotonic() < deadline, load.statuses
                time.sleep(0.05)
        web.kill()
        remount(small_disk, "rw")
        web.start()
        with load.running():
            load.wait_for_more(50)
        wait_until_drained()
        assert set(load.statuses) <= {200, 503}
    finally:
        web.kill()
    copy = sqlite3.connect(database)
    bodies = [bytes(row[0]) for row in copy.execute("SELECT body FROM events_webhookrequest")]
    copy.close()
    assert len(bodies) == len(set(bodies))
    assert set(bodies) >= set(load.accepted)


def fill_disk(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # until no space is left
        while True:
            file.write(b"\0" * 65536)


def remount(folder: Path, mode: str) -> None:
    """Mount the file system again, once the killed processes have closed their files."""
    deadline = time.monotonic() + 20
    while subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.1)
