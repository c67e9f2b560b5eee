"""A canary in the database that only the installation's ENCRYPTION_KEYS decrypt.

A process with other keys cannot read any secret. It would mark accounts as failing and store new secrets that the other
processes cannot read. So it does not start, is not ready, and runs no task.
"""

from __future__ import annotations

from django.conf import settings
from django.core.management.base import CommandError

from providers.db.encryption import Undecryptable
from providers.models import KeyCanary, ProviderAccount

TEXT = "The keys are right."
_verified: set[tuple[str, ...]] = set()


class WrongKeys(CommandError):
    """ENCRYPTION_KEYS are not those of the database. A CommandError, so that commands print only this sentence."""

    def __init__(self) -> None:
        super().__init__(
            "ENCRYPTION_KEYS: these are not the keys with which the database was encrypted. Use those of the other "
            "processes, which are in the environment, .env or DATA_DIR/secrets.env. If they are lost, run "
            "`python manage.py accept_encryption_keys` and enter all credentials again."
        )


def are_right() -> bool:
    """Return whether the keys open the canary. Without one, the stored credentials decide."""
    try:
        if KeyCanary.objects.first() is None:
            ProviderAccount.with_deleted.order_by("-pk").values_list("credentials", flat=True).first()
    except Undecryptable:
        return False
    return True


def require() -> None:
    """Raise WrongKeys unless the keys are right; checked once per process. Create the canary if there is none."""
    keys = tuple(settings.ENCRYPTION_KEYS)
    if keys in _verified:
        return
    if not are_right():
        raise WrongKeys
    try:
        KeyCanary.objects.get_or_create(pk=KeyCanary.ONLY, defaults={"value": TEXT})
    except Undecryptable:  # another process has just created it, with its keys
        raise WrongKeys from None
    _verified.add(keys)


def accept() -> None:
    """Make the current keys the right ones."""
    KeyCanary.objects.all().delete()
    KeyCanary.objects.create(pk=KeyCanary.ONLY, value=TEXT)
