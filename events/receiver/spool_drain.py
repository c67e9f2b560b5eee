"""Moves what waits in the spool into the database: of its own process while that lives, of the dead by anybody."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import django.db

from events.processing.inline_normalizer import inline_normalizer
from events.receiver.group_commit import Table, Writer, writer
from events.receiver.spool.file import Insert, Spool, SpoolError, SpoolStatus, drain_orphans, spool, status
from events.storage.request_row import RequestRow
from events.storage.time_range import note_late
from providers.db.ids import new_id
from subscriptions.models import Heartbeat

logger = logging.getLogger(__name__)

EVERY = 1.0  # seconds
TRIES = 30  # at a record that the database fails at while it takes others
SPOOL_OF = "spool of "  # a machine: the heartbeat in which its spool is told

Follow = Callable[[Sequence[RequestRow]], None]


class PoisonRecords:
    """Records that the database fails at each time, as if it were away, while it takes others: one that is too large
    for the server's memory, for example. After so many tries such a record is put aside, or what came after it would
    wait for ever."""

    def __init__(self) -> None:
        self._tries: Counter[UUID] = Counter()

    def find(self, table: Table, rows: Sequence[RequestRow], error: django.db.Error) -> dict[UUID, str]:
        """Which of the rows are given up, and why; all others are stored. Raises an error when the database is away,
        or when it is too early to say."""
        if _is_full(error) or not table.takes(_small(rows[0])):
            raise error
        given_up: dict[UUID, str] = {}
        for row in rows:
            try:
                given_up |= table.insert_each([row])
            except django.db.Error as own:
                self._tries[row.uid] += 1
                if self._tries[row.uid] < TRIES or _is_full(own) or not table.takes(_small(row)):
                    raise
                given_up[row.uid] = f"The database failed at it {TRIES} times: {_first_line(own)}"
        for row in rows:
            self._tries.pop(row.uid, None)
        return given_up


def _small(row: RequestRow) -> RequestRow:
    """Another row of the same subscription, with nothing in it."""
    return row._replace(uid=new_id(), headers="[]", sealed_headers="", query="", body=b"", size=0)


def _is_full(error: django.db.Error) -> bool:
    """Whether there is no room: small rows may still find some then, but that is no fault of a large one."""
    cause = error.__cause__
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == "53100"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class Drainer:
    """One daemon thread of each process that receives."""

    def __init__(self, writer: Writer, spool: Spool, after: Follow) -> None:
        self._writer = writer
        self._spool = spool
        self._after = after
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._reported: SpoolStatus | None = None

    def after_fork(self) -> None:
        """In a forked process, where the parent's thread is not: starts again what ran there. Else nobody would drain
        what a server that forks after loading us keeps during an outage."""
        ran = self._thread is not None and not self._stopped.is_set()
        self.reset()
        if ran:
            self.start()

    def start(self) -> None:
        """Starts the thread, and reserves the spool's space while there is some."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="drainer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> int:
        """Drains what there is, the oldest first. Returns how many requests were moved; none while the database is
        away."""
        table = Table()
        try:
            insert = inserting(table, self._after)
            moved = drain_orphans(insert) + self._spool.drain(insert, when_empty=self._writer.end_outage)
        except django.db.Error as error:
            logger.debug("The spool could not be drained yet: %s", error)
            return 0
        finally:
            table.close()
        if moved:
            logger.info("%s requests were moved from the spool into the database.", moved)
        return moved

    def report(self) -> None:
        """Writes down what waits on this machine, where problems are looked for: files are known only here."""
        found = status()
        name = f"{SPOOL_OF}{socket.gethostname()}"[:50]
        if found == self._reported and found.sound:
            return
        if found.sound:
            Heartbeat.objects.filter(name=name).delete()
        else:
            Heartbeat.beat(name, found.words)
        self._reported = found

    def _run(self) -> None:
        try:
            self._spool.prepare()
        except SpoolError as error:
            logger.error("No space could be reserved for times without the database: %s", error)
        while not self._stopped.wait(EVERY):
            try:
                self.look()
                self.report()
            except django.db.Error as error:
                logger.debug("The spool could not be reported: %s", error)
                django.db.connection.close()
            except Exception:
                logger.exception("The spool could not be drained")
        django.db.connection.close()


def drain_the_dead() -> int:
    """For a process that receives nothing itself. Returns how many requests were moved."""
    table = Table()
    try:
        return drain_orphans(inserting(table, lambda rows: None))
    finally:
        table.close()


def inserting(table: Table, after: Follow) -> Insert:
    """How the spool writes into the database; what is there already, stays."""

    def insert(rows: Sequence[RequestRow]) -> Mapping[UUID, str]:
        django.db.close_old_connections()  # it may have been away
        note_late([row.received_at for row in rows])
        try:
            refused = table.insert_each(rows)
        except django.db.Error as error:
            refused = stubborn.find(table, rows, error)
        after([row for row in rows if row.uid not in refused])
        return refused

    return insert


stubborn = PoisonRecords()
drainer = Drainer(writer, spool, inline_normalizer.enqueue_rows)
os.register_at_fork(after_in_child=drainer.after_fork)
