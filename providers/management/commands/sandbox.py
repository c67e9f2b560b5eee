"""`manage.py sandbox`: run the simulated providers."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers.sandbox.server import DEMO_EVENTS_PER_MINUTE, Sandbox


class Command(BaseCommand):
    """Serve the sandbox until SIGINT or SIGTERM."""

    help = "Serves a simulation of every provider on a loopback port, with a stream of random events."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--port` and `--deliver-to`."""
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT, help="default: SANDBOX_PORT")
        parser.add_argument(
            "--deliver-to",
            metavar="ORIGIN",
            help="origin to connect to for callback URLs that begin with PUBLIC_URL, for example behind a proxy",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Start, print the address, and wait for a signal."""
        deliver_to = {settings.PUBLIC_URL: options["deliver_to"]} if options["deliver_to"] else None
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        sandbox = Sandbox(port=options["port"], stream_per_minute=DEMO_EVENTS_PER_MINUTE, deliver_to=deliver_to)
        try:
            sandbox.start()
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"The sandbox cannot listen on port {options['port']} ({error}). Set SANDBOX_PORT to a free one."
            ) from None
        try:
            self.stdout.write(f"Sandbox: {sandbox.url}/_sandbox/")
            self.stdout.flush()
            stop.wait()
        finally:
            sandbox.close()
