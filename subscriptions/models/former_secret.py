"""Secrets that are no longer accepted."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from providers.db.fields import EncryptedJSONField
from subscriptions.models.subscription import Subscription


class FormerSecret(models.Model):
    """A secret that is no longer accepted. It lets a person release late requests that were signed with it."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="former_secrets")
    value = EncryptedJSONField(editable=False)
    dropped_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Former secret {self.pk}"
