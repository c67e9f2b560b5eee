"""`manage.py accept_encryption_keys`: go on with new ENCRYPTION_KEYS after the old ones were lost."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from providers.accounts import encryption_keys


class Command(BaseCommand):
    """Encrypt the canary with the current keys."""

    help = "Accepts new ENCRYPTION_KEYS. All credentials and secrets that the old keys encrypted must be entered again."

    def handle(self, *args: Any, **options: Any) -> None:
        """Accept the keys."""
        encryption_keys.accept()
        self.stdout.write("The current ENCRYPTION_KEYS are accepted. Enter the credentials of all accounts again.")
