"""`manage.py up` runs the whole product on one machine under a supervisor. `make run` calls it."""

from __future__ import annotations

import http.client
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections

from config import environment
from config.environment import BASE_DIR
from config.supervisor import preflight
from config.supervisor.admin_login import AdminLogin, ensure_admin
from config.supervisor.supervisor import ChildProcess, Supervisor
from config.web import granian
from providers.accounts import encryption_keys
from subscriptions.lifecycle.demo import ensure_demo

# A server that listens on all addresses is reached at the loopback address.
LOOPBACK_FOR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Command(BaseCommand):
    """Prepare the installation, then run web, worker and sandbox until stopped."""

    help = "Prepares the installation and runs web, worker and sandbox on this machine until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM. Exit with one sentence if a setting is wrong."""
        preflight.check_data_dir()
        preflight.check_port("PORT", settings.HOST, settings.PORT)
        if settings.DEMO:
            preflight.check_port("SANDBOX_PORT", "127.0.0.1", settings.SANDBOX_PORT)
        lock = preflight.lock_data_dir()
        preflight.check_database()
        login = prepare()
        connections.close_all()
        with lock:
            Supervisor(children()).run(is_ready=is_web_process_up, on_ready=lambda: self.announce(login))

    def announce(self, login: AdminLogin) -> None:
        """Print the URL and how to log in."""
        unchanged = "(unchanged; to set a new one, start with ADMIN_PASSWORD=...)"
        password = login.password or ("(that of ADMIN_PASSWORD)" if settings.ADMIN_PASSWORD else unchanged)
        lines = [
            "",
            "Hookkeeper is running.",
            "",
            f"  URL       {settings.PUBLIC_URL}/admin/",
            f"  User      {login.username}",
            f"  Password  {password}",
            *([f"  Sandbox   {settings.SANDBOX_URL}/_sandbox/"] if settings.SANDBOX_URL else []),
            "",
            "Ctrl-C stops it.",
            "",
        ]
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def prepare() -> AdminLogin:
    """Migrate the database, create the user `admin` and, with DEMO, the sandbox accounts. Return how to log in."""
    call_command("migrate", interactive=False, verbosity=0)
    encryption_keys.require()
    if settings.DEMO:
        ensure_demo()
    return ensure_admin(settings.ADMIN_PASSWORD)


def children() -> list[ChildProcess]:
    """Return the processes that run on one machine."""
    python = sys.executable
    manage = str(BASE_DIR / "manage.py")
    # The receiver answers in front of Django unless the settings say otherwise.
    receiver = {"RECEIVER_ENTRY": environment.text("RECEIVER_ENTRY", "wsgi")}
    worker = "-m celery --app config.celery --quiet worker --without-gossip --without-mingle --without-heartbeat"
    processes = [
        ChildProcess("web", granian.command(settings.HOST, settings.PORT), environment=receiver),
        ChildProcess("worker", [python, *worker.split()]),
    ]
    return [*processes, ChildProcess("sandbox", [python, manage, "sandbox"])] if settings.DEMO else processes


def is_web_process_up() -> bool:
    """Return whether the web process answers."""
    connection = http.client.HTTPConnection(LOOPBACK_FOR.get(settings.HOST, settings.HOST), settings.PORT, timeout=1)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
