"""The embedded broker: messages as files below DATA_DIR/broker, one folder a queue. For one machine without services.

kombu has a file transport of its own, but its readers can see half-written files: it lost messages and stopped the
worker. Here a file appears under its name only when it is whole, and whoever removes it owns the message.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import virtual

logger = logging.getLogger(__name__)

# With no worker to read them, messages would fill the disk. They only wake workers up, so that many are enough.
MOST_WAITING = 10_000
COUNT_EVERY = 500


class Channel(virtual.Channel):
    """Queues in folders. Bindings stay in memory: every process declares the queues that it uses."""

    do_restore = True

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.folder = connection.folder
        self._puts = itertools.count()
        self._full = False

    def _queue_folder(self, queue: str) -> Path:
        folder = self.folder / queue
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _waiting(self, queue: str) -> list[str]:
        """The names of whole messages, oldest first."""
        return sorted(name for name in os.listdir(self._queue_folder(queue)) if name.endswith(".msg"))

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if next(self._puts) % COUNT_EVERY == 0:
            self._full = len(self._waiting(queue)) >= MOST_WAITING
        if self._full:
            logger.warning("More than %d messages wait in queue %s; no worker reads them.", MOST_WAITING, queue)
            return
        folder = self._queue_folder(queue)
        name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
        unfinished = folder / f"{name}.tmp"
        unfinished.write_text(json.dumps(message), encoding="utf-8")
        unfinished.rename(folder / f"{name}.msg")

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        folder = self._queue_folder(queue)
        for name in self._waiting(queue):
            message = _take(folder / name)
            if message is not None:
                return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        names = self._waiting(queue)
        for name in names:
            (self._queue_folder(queue) / name).unlink(missing_ok=True)
        return len(names)

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return (self.folder / queue).is_dir()


def _take(file: Path) -> dict[str, Any] | None:
    """The message, if it is ours now and readable. Only one of several readers can remove the file."""
    try:
        content = file.read_bytes()
        file.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("The broker's file %s cannot be read: %s", file, error)
        return None
    try:
        message = json.loads(content)
        if not (isinstance(message, dict) and isinstance(message.get("properties"), dict)):
            raise ValueError("not a message")
    except ValueError:
        logger.warning("The broker's file %s held no message and was removed.", file)
        return None
    return message


class Transport(virtual.Transport):
    """`embedded://`."""

    Channel = Channel
    implements = virtual.Transport.implements.extend(asynchronous=False, exchange_type=frozenset(["direct", "topic"]))
    global_state = virtual.BrokerState()
    driver_type = "embedded"
    driver_name = "embedded"

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.state = self.global_state
        self.folder = Path(client.transport_options["folder"])
        self.polling_interval = float(client.transport_options.get("polling_interval", 0.2))

    def driver_version(self) -> str:
        """It has no version of its own."""
        return "1"
