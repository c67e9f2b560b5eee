"""Moves what waits in the spool into the database: of its own process while that lives, of the dead by anybody."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

import django.db

from events.kept import KeptRequest
from events.normaliser import normaliser
from events.spool import Spool, SpoolError, SpoolStatus, drain_orphans, spool, status
from events.writer import Table, Writer, writer
from subscriptions.models import Heartbeat

logger = logging.getLogger(__name__)

EVERY = 1.0  # seconds
SPOOL_OF = "spool of "  # a machine: the heartbeat in which its spool is told

Follow = Callable[[Sequence[KeptRequest]], None]


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


def inserting(table: Table, after: Follow) -> Callable[[Sequence[KeptRequest]], Sequence[KeptRequest]]:
    """How the spool writes into the database; what is there already, stays."""

    def insert(rows: Sequence[KeptRequest]) -> Sequence[KeptRequest]:
        refused = table.insert_each(rows)
        after([row for row in rows if row.uid not in refused])
        return [row for row in rows if row.uid in refused]

    return insert


drainer = Drainer(writer, spool, normaliser.follow)
os.register_at_fork(after_in_child=drainer.reset)
