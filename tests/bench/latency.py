"""Measure the time from POST to the feed at a steady rate. Runs in a process of its own and prints JSON.

The time runs from before the POST is sent until a reader of the feed sees the event, on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

import django

django.setup()

from events.models import Event  # noqa: E402 - needs Django
from tests.bench.load import Target, body  # noqa: E402

POLL_SECONDS = 0.003
GRACE_SECONDS = 10.0  # for the last events
CONNECTIONS = 32


class Feed(threading.Thread):
    """Reads the feed like a client, and records when it saw each event."""

    def __init__(self, expected: int) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self._expected = expected
        last = Event.objects.order_by("-position").values_list("position", flat=True).first()
        self._position: int = last or 0
        self.deadline = float("inf")

    def run(self) -> None:
        while len(self.seen) < self._expected and time.monotonic() < self.deadline:
            rows = Event.objects.filter(position__gt=self._position).order_by("position")
            for position, event_id in rows.values_list("position", "provider_event_id")[:500]:
                self._position = position
                self.seen[event_id or ""] = time.monotonic()
            time.sleep(POLL_SECONDS)


async def _send(target: Target, rate: float, count: int, run: str) -> dict[str, float]:
    sent: dict[str, float] = {}
    started = time.monotonic()
    numbers = iter(range(count))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        for number in numbers:
            await asyncio.sleep(max(started + number / rate - time.monotonic(), 0))
            event_id = f"{run}-{number:012}"
            content = body(event_id)
            head = f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{target.header}: {target.value}\r\n"
            sent[event_id] = time.monotonic()
            writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            if b"chunked" in answer:
                await reader.readuntil(b"0\r\n\r\n")
            if answer[9:12] != b"200":
                raise RuntimeError(f"answered {answer!r}")
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return sent


def main(target: Target, rate: float, seconds: float) -> dict[str, float]:
    """Return median and p99 in milliseconds, and the number of lost events."""
    count = int(rate * seconds)
    feed = Feed(count)
    feed.start()
    sent = asyncio.run(_send(target, rate, count, f"latency-{time.time_ns()}"))
    feed.deadline = time.monotonic() + GRACE_SECONDS
    feed.join()
    ordered = sorted((feed.seen[key] - at) * 1000 for key, at in sent.items() if key in feed.seen)
    return {
        "median": ordered[len(ordered) // 2],
        "p99": ordered[int(len(ordered) * 0.99)],
        "lost": count - len(ordered),
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps(main(Target(**arguments["target"]), arguments["rate"], arguments["seconds"])))
