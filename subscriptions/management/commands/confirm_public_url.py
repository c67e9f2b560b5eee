"""`manage.py confirm_public_url`: confirm that this installation has moved to PUBLIC_URL for good."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from providers.accounts import encryption_keys
from subscriptions.lifecycle import public_url


class Command(BaseCommand):
    """Move every callback URL to PUBLIC_URL; the worker then changes them at the providers."""

    help = (
        "Confirm that PUBLIC_URL is the new address of this installation. Until then nothing is changed at a "
        "provider, because a copy of the database would otherwise redirect the subscriptions of the original."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print how many callback URLs moved."""
        encryption_keys.require()
        moved = public_url.confirm(settings.PUBLIC_URL, by="command:confirm_public_url")
        self.stdout.write(f"{moved} subscriptions now have callback URLs at {settings.PUBLIC_URL}.")
