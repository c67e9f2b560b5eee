"""`manage.py up`: the whole product on one machine, under one supervisor. `make run` ends here."""

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
from config.supervisor.admin_login import Login, ensure_admin
from config.supervisor.supervisor import Child, Supervisor
from config.web import granian
from subscriptions.lifecycle.demo import ensure_demo

# What listens everywhere is asked at the loopback address.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Command(BaseCommand):
    """Prepares everything, then runs web, worker and sandbox until it is stopped."""

    help = "Runs web, worker and sandbox on this machine, and prepares whatever they need first."

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs until SIGINT or SIGTERM. Ends with one sentence when a setting stands in the way."""
        preflight.check_data_dir()
        preflight.check_port("PORT", settings.HOST, settings.PORT)
        if settings.DEMO:
            preflight.check_port("SANDBOX_PORT", "127.0.0.1", settings.SANDBOX_PORT)
        lock = preflight.lock_data_dir()
        preflight.check_database()
        login = prepare()
        connections.close_all()
        with lock:
            Supervisor(children()).run(is_ready=web_answers, on_ready=lambda: self.announce(login))

    def announce(self, login: Login) -> None:
        """Prints where the product is and how to get in."""
        password = login.password or "(unchanged; to set a new one, start with ADMIN_PASSWORD=...)"
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


def prepare() -> Login:
    """Brings the database up to date, and sees to the login and, with DEMO, to the sandbox's accounts."""
    call_command("migrate", interactive=False, verbosity=0)
    if settings.DEMO:
        ensure_demo()
    return ensure_admin(settings.ADMIN_PASSWORD)


def children() -> list[Child]:
    """The processes of one machine."""
    python = sys.executable
    manage = str(BASE_DIR / "manage.py")
    # In front of Django unless the settings say otherwise.
    door = {"RECEIVER_DOOR": environment.text("RECEIVER_DOOR", "wsgi")}
    worker = "-m celery --app config.celery --quiet worker --without-gossip --without-mingle --without-heartbeat"
    found = [
        Child("web", granian.command(settings.HOST, settings.PORT), environment=door),
        Child("worker", [python, *worker.split()]),
    ]
    return [*found, Child("sandbox", [python, manage, "sandbox"])] if settings.DEMO else found


def web_answers() -> bool:
    """Whether the web process serves already."""
    connection = http.client.HTTPConnection(EVERYWHERE.get(settings.HOST, settings.HOST), settings.PORT, timeout=1)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
