"""The embedded broker loses no message and survives damaged files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.simple import SimpleQueue

from config.environment import BASE_DIR
from config.worker import embedded_broker

PRODUCER = """
import sys
from kombu import Connection
folder, name, count = sys.argv[1:]
transport = "config.worker.embedded_broker:Transport"
with Connection(transport=transport, transport_options={"folder": folder}) as connection:
    queue = connection.SimpleQueue("work")
    for number in range(int(count)):
        queue.put([name, number])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def connection(folder: Path) -> Iterator[Connection]:
    options = {"folder": str(folder), "polling_interval": 0.01}
    with Connection(transport="config.worker.embedded_broker:Transport", transport_options=options) as connection:
        yield connection


@pytest.fixture
def queue(connection: Connection) -> Iterator[SimpleQueue]:
    with connection.SimpleQueue("work") as queue:
        yield queue


def take(queue: SimpleQueue) -> object:
    message = queue.get(block=False)
    message.ack()
    return message.payload


@pytest.mark.slow
def test_several_producers_and_a_consumer_lose_nothing(folder: Path, queue: SimpleQueue) -> None:
    producers = [
        subprocess.Popen([sys.executable, "-c", PRODUCER, str(folder), name, "200"], cwd=BASE_DIR) for name in "abc"
    ]
    received: list[tuple[str, int]] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running = any(producer.poll() is None for producer in producers)
        try:
            name, number = queue.get(timeout=0.5).payload
            received.append((name, number))
        except Empty:
            if not running:
                break
    assert [producer.wait() for producer in producers] == [0, 0, 0]
    assert sorted(received) == [(name, number) for name in "abc" for number in range(200)]


def test_messages_are_received_in_the_order_they_were_sent(queue: SimpleQueue) -> None:
    for number in range(20):
        queue.put(number)
    assert [take(queue) for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"body": "x"}'])
def test_a_file_that_is_not_a_message_is_removed(folder: Path, queue: SimpleQueue, content: bytes) -> None:
    broken = folder / "work" / "0.msg"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(content)
    queue.put("whole")
    assert take(queue) == "whole"
    assert not broken.exists()


def test_an_unfinished_file_is_not_read(folder: Path, queue: SimpleQueue) -> None:
    queue.put("first")
    (file,) = (folder / "work").glob("*.msg")
    file.rename(file.with_suffix(".tmp"))
    with pytest.raises(Empty):
        take(queue)


def test_a_folder_among_the_messages_is_ignored(folder: Path, queue: SimpleQueue) -> None:
    (folder / "work" / "0.msg").mkdir(parents=True)
    queue.put("whole")
    assert take(queue) == "whole"


def test_queues_are_separate(connection: Connection) -> None:
    with connection.SimpleQueue("a") as a, connection.SimpleQueue("a.b") as b:
        b.put("for b")
        with pytest.raises(Empty):
            take(a)
        assert take(b) == "for b"


def test_unread_messages_do_not_fill_the_disk(
    queue: SimpleQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_broker, "MAX_WAITING_MESSAGES", 10)
    monkeypatch.setattr(embedded_broker, "COUNT_INTERVAL", 5)
    for number in range(100):
        queue.put(number)
    assert len(list((folder / "work").glob("*.msg"))) <= 15


def test_a_queue_can_be_counted_and_purged(connection: Connection) -> None:
    channel: Any = connection.default_channel
    queue = Queue("work")(channel)
    queue.declare()

    def waiting() -> int:
        return int(channel.queue_declare(queue="work", passive=True).message_count)

    producer = connection.Producer()
    for number in range(3):
        producer.publish(number, routing_key="work")
    assert waiting() == 3
    assert queue.purge() == 3
    assert waiting() == 0
