"""Whether this installation is where its subscriptions were registered for, and confirming that it has moved.

A copy of the database that runs elsewhere has the same tokens at another PUBLIC_URL: it must not take the original's
subscriptions away. So nothing is changed at a provider until a person says that this is the new address."""

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
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription

INSTALLATION = "installation"


class OtherAddress(Conflict):
    """The address that was to be confirmed is not this installation's."""


@dataclass(frozen=True, slots=True)
class Former:
    """An address that subscriptions were registered with, and how many."""

    address: str
    count: int


def elsewhere() -> QuerySet[Subscription]:
    """Living subscriptions whose callback URL is at another address than PUBLIC_URL."""
    here = f"{settings.PUBLIC_URL}/hooks/"
    start = Left("callback_url", len(here))  # LIKE would ignore case on SQLite
    return Subscription.objects.alias(start=start).filter(deleted_at=None).exclude(start=here)


def address_confirmed() -> bool:
    """Whether PUBLIC_URL is the address of every living subscription."""
    return not elsewhere().exists()


def former_addresses() -> list[Former]:
    """The other addresses, the most used first; none when all is confirmed."""
    urls = elsewhere().values_list("callback_url", flat=True)
    counts = Counter(_origin(url) for url in urls.iterator(chunk_size=2000))
    return [Former(address, count) for address, count in counts.most_common()]


def confirm(address: str, *, by: str) -> int:
    """A person or a program says that this address, which must be PUBLIC_URL, is the new one of this installation.
    Every callback URL moves there, and is changed at the providers. Returns how many moved. Raises OtherAddress."""
    if address.rstrip("/") != settings.PUBLIC_URL:
        raise OtherAddress(f"PUBLIC_URL is {settings.PUBLIC_URL}, not {address}.")
    former = [item.address for item in former_addresses()]
    moved = desired_state.confirm_public_url(by=by)
    if moved:
        with transaction.atomic():
            log.note(
                by,
                "address confirmed",
                INSTALLATION,
                subject_id=INSTALLATION,
                before={"public_url": ", ".join(former)},
                after={"public_url": settings.PUBLIC_URL, "subscriptions": moved},
            )
    return moved


def _origin(url: str) -> str:
    """The PUBLIC_URL that a callback URL was made with."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.partition('/hooks/')[0]}"
