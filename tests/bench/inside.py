"""Jobs on the measured database, each run in its own process: `python -m tests.bench.inside JOB [NUMBER]`."""

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
    """Create an account with that many subscriptions. Return their tokens and secrets as JSON."""
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
    """Return how many requests are stored."""
    return str(WebhookRequest.objects.count())


def waiting() -> str:
    """Return how many requests are pending."""
    return str(WebhookRequest.objects.unprocessed().count())


def normalize_all() -> str:
    """Normalize every pending request."""
    return str(normalize.normalize_pending())


def log_in() -> str:
    """Log in a superuser. Return the session key."""
    user, _ = User.objects.get_or_create(username="bench", defaults={"is_staff": True, "is_superuser": True})
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session.session_key or ""


def purge() -> str:
    """Purge what is older than a day, until the process is stopped."""
    ProviderAccount.objects.update(retention_days=1)
    Purge.objects.all().delete()  # and with it the claim of a process that was stopped before
    row = Purge.objects.create(account=ProviderAccount.objects.get(), due_at=timezone.now())
    sys.stdout.write("started\n")
    sys.stdout.flush()
    while retention.purge(row, timezone.now()).more:
        continue
    return "ended"


def poll() -> str:
    """Run the worker's poller until the process is stopped."""
    sys.stdout.write("started\n")
    sys.stdout.flush()
    while True:
        tasks.normalize_pending()
        time.sleep(1)


JOBS = {job.__name__: job for job in (prepare, stored, waiting, normalize_all, log_in, purge, poll)}

if __name__ == "__main__":
    sys.stdout.write(JOBS[sys.argv[1]](*sys.argv[2:]))
