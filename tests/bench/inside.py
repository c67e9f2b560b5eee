"""Run in a process of its own, on the measured database: `python -m tests.bench.inside WHAT [NUMBER]`."""

from __future__ import annotations

import json
import sys
import time

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402 - needs Django
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.utils import timezone  # noqa: E402

from events import tasks  # noqa: E402
from events.models import Purge, WebhookRequest  # noqa: E402
from events.processing import normalize  # noqa: E402
from events.retention import purge as retention  # noqa: E402
from providers.models import ProviderAccount  # noqa: E402
from subscriptions.lifecycle import accounts, desired_state  # noqa: E402

BY = "command:bench"


def prepare(count: str) -> str:
    """Makes an account with that many subscriptions. Returns their tokens and secrets."""
    account = accounts.add_account(
        provider="egnyte-connect",
        name="Bench",
        settings={"domain": "acme"},
        credentials={"access_token": "only-for-the-bench"},
        by=BY,
    )
    rows = [
        desired_state.subscribe(account, config={"event_types": ["fs:*"]}, name=f"Bench {number}", by=BY)
        for number in range(int(count))
    ]
    return json.dumps([[row.token, row.secrets[0]] for row in rows])


def stored() -> str:
    """How many requests there are."""
    return str(WebhookRequest.objects.count())


def waiting() -> str:
    """How many of them have no events yet."""
    return str(WebhookRequest.objects.unprocessed().count())


def normalise() -> str:
    """Turns every stored request into its events."""
    return str(normalize.normalize_pending())


def log_in() -> str:
    """Logs a superuser in. Returns the session's key."""
    user, _ = User.objects.get_or_create(username="bench", defaults={"is_staff": True, "is_superuser": True})
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session.session_key or ""


def purge() -> str:
    """Purges what is older than a day, until it is stopped."""
    ProviderAccount.objects.update(retention_days=1)
    Purge.objects.all().delete()  # with the claim of the one that was stopped before
    row = Purge.objects.create(account=ProviderAccount.objects.get(), due_at=timezone.now())
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while retention.purge(row).more:
        continue
    return "ended"


def poll() -> str:
    """What the worker does beside the web process: turns what is left behind into events, until it is stopped."""
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while True:
        tasks.normalize_pending()
        time.sleep(1)


JOBS = {job.__name__: job for job in (prepare, stored, waiting, normalise, log_in, purge, poll)}

if __name__ == "__main__":
    sys.stdout.write(JOBS[sys.argv[1]](*sys.argv[2:]))
