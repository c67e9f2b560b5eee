"""The embedded broker, for one machine without services: a folder per queue in DATA_DIR/broker, a file per message.

kombu's own filesystem transport lets readers see half-written files: it lost messages and stopped the worker. Here a
file gets its final name only once it is complete, and the reader that removes the file owns the message.
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

# Without a worker, messages would fill the disk. They only wake workers up, so losing the rest does no harm.
MAX_WAITING_MESSAGES = 10_000
COUNT_INTERVAL = 500


class Channel(virtual.Channel):
    """Keep queues in folders and bindings in memory: every process declares the queues that it uses."""

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
        """Return the file names of complete messages, oldest first."""
        return sorted(name for name in os.listdir(self._queue_folder(queue)) if name.endswith(".msg"))

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if next(self._puts) % COUNT_INTERVAL == 0:
            self._full = len(self._waiting(queue)) >= MAX_WAITING_MESSAGES
        if self._full:
            logger.warning("Queue %s holds over %d messages: no worker reads it.", queue, MAX_WAITING_MESSAGES)
            return
        folder = self._queue_folder(queue)
        name = f"{time.time_ns():020}-{uuid.uuid4().hex}"
        unfinished = folder / f"{name}.tmp"
        unfinished.write_text(json.dumps(message), encoding="utf-8")
        unfinished.rename(folder / f"{name}.msg")

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        folder = self._queue_folder(queue)
        for name in self._waiting(queue):
            message = _take_message(folder / name)
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


def _take_message(file: Path) -> dict[str, Any] | None:
    """Return the message, or None if another reader took it or it is unreadable. Only one reader can remove a file."""
    try:
        content = file.read_bytes()
        file.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("Could not read the broker's file %s: %s", file, error)
        return None
    try:
        message = json.loads(content)
        if not (isinstance(message, dict) and isinstance(message.get("properties"), dict)):
            raise ValueError("not a message")
    except ValueError:
        logger.warning("Removed the broker's file %s: it is not a message.", file)
        return None
    return message


class Transport(virtual.Transport):
    """The transport of `embedded://`."""

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
        """Return a fixed version; kombu asks for one."""
        return "1"
