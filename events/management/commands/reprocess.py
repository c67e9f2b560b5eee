"""`manage.py reprocess`: reprocess stored requests, for example after a fix or with a new secret."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from events.models import Outcome, WebhookRequest
from events.processing.bulk_reprocess import reprocess_many
from providers.accounts import encryption_keys

BY = "command:reprocess"


class Command(BaseCommand):
    """Reprocess all selected requests. The command can be stopped and repeated at any time."""

    help = "Reprocess stored requests. Rejected ones are verified again first, and released if they pass."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options that select requests."""
        parser.add_argument("--subscription", metavar="ID", help="only requests of this subscription")
        parser.add_argument("--account", metavar="ID", help="only requests of this account")
        parser.add_argument(
            "--outcome", action="append", choices=Outcome.values, help="only requests with this outcome; repeatable"
        )
        parser.add_argument("--all", action="store_true", help="all requests")

    def handle(self, *args: Any, **options: Any) -> None:
        """Reprocess the requests and print how many ended with which outcome."""
        encryption_keys.require()
        if not any(options[name] for name in ("subscription", "account", "outcome", "all")):
            raise CommandError("Select requests with an option, or use --all.")
        rows = WebhookRequest.objects.all()
        for name in ("subscription", "account"):
            if options[name]:
                rows = rows.filter(**{f"{name}__uid": _parse_id(options[name])})
        if options["outcome"]:
            rows = rows.filter(outcome__in=options["outcome"])
        outcomes: Counter[str] = Counter()
        after: int | None = 0
        while after is not None:
            result = reprocess_many(rows, by=BY, after=after)
            outcomes += result.outcomes
            after = result.last.pk if result.last else None
        for outcome, count in sorted(outcomes.items()):
            self.stdout.write(f"{count} {outcome}")
        self.stdout.write(f"{outcomes.total()} reprocessed")


def _parse_id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise CommandError(f"{value!r} is not an ID.") from None
