"""What is known about remote IDs: who owns them, and what people decided about unmanaged ones."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from providers.models import ProviderAccount
from subscriptions.models.subscription import Subscription


class KnownRemote(models.Model):
    """The owner of a remote ID: one of our subscriptions, or null for a foreign one.

    The owner is looked up once and cached here instead of being asked for at every sync.
    """

    account = models.ForeignKey(ProviderAccount, models.CASCADE, related_name="known_remotes")
    remote_id = models.CharField(max_length=200)
    subscription = models.ForeignKey(Subscription, models.CASCADE, null=True, related_name="known_remotes")
    url = models.TextField(blank=True, default="")
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["account", "remote_id"], name="known_remote_once")]

    def __str__(self) -> str:
        return self.remote_id


class RemoteNote(models.Model):
    """A person's decision about an unmanaged remote subscription: to ignore it, or to delete it.

    `removing_until` is when a deletion in progress times out. Unlike a KnownRemote, a note stays while the provider
    does not list the ID.
    """

    account = models.ForeignKey(ProviderAccount, models.CASCADE, related_name="remote_notes")
    remote_id = models.CharField(max_length=200)
    ignored_at = models.DateTimeField(null=True, blank=True)
    removing_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["account", "remote_id"], name="remote_note_once")]

    def __str__(self) -> str:
        return self.remote_id
