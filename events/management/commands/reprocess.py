"""`manage.py reprocess`: reads stored requests again, as after a fix or a new secret."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from events.models import Outcome, WebhookRequest
from events.processing.bulk_reprocess import reprocess_many

BY = "command:reprocess"


class Command(BaseCommand):
    """Goes on until all are done; it can be stopped and begun again at any time."""

    help = "Reads stored requests again. Rejected ones are verified again first, and released when they pass."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which requests."""
        parser.add_argument("--subscription", metavar="ID", help="of this subscription only")
        parser.add_argument("--account", metavar="ID", help="of this account only")
        parser.add_argument("--outcome", action="append", choices=Outcome.values, help="with this outcome; repeatable")
        parser.add_argument("--all", action="store_true", help="every request there is")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints what became of them."""
        if not any(options[name] for name in ("subscription", "account", "outcome", "all")):
            raise CommandError("Say which requests, or --all.")
        rows = WebhookRequest.objects.all()
        for name in ("subscription", "account"):
            if options[name]:
                rows = rows.filter(**{f"{name}__uid": _id(options[name])})
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
        self.stdout.write(f"{outcomes.total()} read again")


def _id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise CommandError(f"{value!r} is not an id.") from None
