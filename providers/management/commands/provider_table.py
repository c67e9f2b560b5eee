"""`manage.py provider_table`: docs/providers.md, on standard output."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from providers.contract.capability_table import as_markdown
from providers.contract.registry import all_providers


class Command(BaseCommand):
    """Prints the page; `make docs` puts it where it belongs."""

    help = "Prints the table of what each provider can do, as Markdown."

    def handle(self, *args: Any, **options: Any) -> None:
        """Standard output is the file."""
        self.stdout.write(as_markdown(all_providers().values()), ending="")
