"""`manage.py provider_table`: print docs/providers.md."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from providers.contract.capability_table import as_markdown
from providers.contract.registry import all_providers


class Command(BaseCommand):
    """Print the page; `make docs` writes it to docs/providers.md."""

    help = "Prints the table of provider capabilities as Markdown."

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the page to standard output."""
        self.stdout.write(as_markdown(all_providers().values()), ending="")
