"""Whether this installation is at the address its subscriptions were registered with, and confirming a new address.

A copy of the database that runs elsewhere has the same tokens at another PUBLIC_URL, and must not redirect the
subscriptions of the original. So nothing is changed at a provider until a person confirms the new address.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Left

from providers.audit import log
from providers.conflict import Conflict
from providers.models import ProviderAccount
from subscriptions.lifecycle.activity_log import log_subscription
from subscriptions.models import Subscription, callback_url_for

INSTALLATION_SUBJECT = "installation"


class NotThisInstallation(Conflict):
    """The address to confirm is not the PUBLIC_URL of this installation."""


@dataclass(frozen=True, slots=True)
class FormerAddress:
    """An address that subscriptions were registered with, and how many."""

    address: str
    count: int


def subscriptions_at_other_addresses() -> QuerySet[Subscription]:
    """Return the subscriptions, except deleted ones, whose callback URL is not below PUBLIC_URL."""
    here = f"{settings.PUBLIC_URL}/hooks/"
    start = Left("callback_url", len(here))  # LIKE ignores case on SQLite
    return Subscription.objects.alias(start=start).filter(deleted_at=None).exclude(start=here)


def is_confirmed() -> bool:
    """Return whether PUBLIC_URL is the address of every subscription."""
    return not subscriptions_at_other_addresses().exists()


def former_addresses() -> list[FormerAddress]:
    """Return the other addresses, the most used first; an empty list if PUBLIC_URL is confirmed."""
    urls = subscriptions_at_other_addresses().values_list("callback_url", flat=True)
    counts = Counter(_origin(url) for url in urls.iterator(chunk_size=2000))
    return [FormerAddress(address, count) for address, count in counts.most_common()]


def confirm(address: str, *, by: str) -> int:
    """Confirm that an address, which must be PUBLIC_URL, is the new one of this installation.

    Every callback URL moves there, and the plan changes it at the providers. Return how many moved. Raises
    NotThisInstallation.
    """
    if address.rstrip("/") != settings.PUBLIC_URL:
        raise NotThisInstallation(f"PUBLIC_URL is {settings.PUBLIC_URL}, not {address}.")
    former = [item.address for item in former_addresses()]
    moved = move_callback_urls(by=by)
    if moved:
        with transaction.atomic():
            log.record(
                by,
                "address confirmed",
                INSTALLATION_SUBJECT,
                subject_id=INSTALLATION_SUBJECT,
                before={"public_url": ", ".join(former)},
                after={"public_url": settings.PUBLIC_URL, "subscriptions": moved},
            )
    return moved


def move_callback_urls(*, by: str, account: ProviderAccount | None = None) -> int:
    """Move the callback URLs of all subscriptions, or of one account's, to PUBLIC_URL. Return how many moved."""
    rows = Subscription.objects.filter(deleted_at=None).select_related("account")
    if account is not None:
        rows = rows.filter(account=account)
    return sum(_move_callback_url(row, by) for row in rows.iterator(chunk_size=500) if not row.address_confirmed)


@transaction.atomic
def _move_callback_url(row: Subscription, by: str) -> int:
    before = {"callback_url": row.callback_url}
    former = list(dict.fromkeys([*row.former_callback_urls, row.callback_url]))
    row.change_desired_state(by=by, callback_url=callback_url_for(row.token), former_callback_urls=former)
    log_subscription(row, log.CHANGED, by, before=before, after={"callback_url": row.callback_url})
    return 1


def _origin(url: str) -> str:
    """Return the PUBLIC_URL that a callback URL was built with."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.partition('/hooks/')[0]}"
