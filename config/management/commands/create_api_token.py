"""`manage.py create_api_token NAME [--scope S]...` creates a token for another service and prints it once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from config.models import NAME_LENGTH, ApiToken, Scope
from providers.accounts import encryption_keys
from providers.audit import log
from providers.names import is_visible


class Command(BaseCommand):
    """Create an API token and print it, and nothing else, on standard output."""

    help = "Creates an API token and prints it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add NAME and the repeatable --scope."""
        parser.add_argument("name", metavar="NAME", help="who will use it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            metavar="SCOPE",
            help=f"one of {', '.join(Scope.values)}; repeatable; default: all scopes",
        )

    def handle(self, *args: Any, name: str, scope: list[str] | None, **options: Any) -> None:
        """Create the token and print it. Raise CommandError for an invalid name."""
        encryption_keys.require()
        name = name.strip()
        if not name or len(name) > NAME_LENGTH or not is_visible(name):
            raise CommandError(f"NAME must have 1 to {NAME_LENGTH} printable characters.")
        with transaction.atomic():
            token, text = ApiToken.issue(name, scope)
            log.record(
                "command:create_api_token",
                log.CREATED,
                "token",
                subject_id=token.uid,
                name=token.name,
                after={"prefix": token.prefix, "scopes": token.scopes},
            )
        self.stdout.write(text)
