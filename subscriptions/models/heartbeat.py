"""Heartbeats of this installation's processes, and claims on periodic work."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from providers.db.clock_steps import not_after


class Heartbeat(models.Model):
    """The time at which a part of the installation last showed that it is alive."""

    name = models.CharField(max_length=50, unique=True)
    at = models.DateTimeField()
    detail = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def beat(cls, name: str, detail: str = "") -> None:
        """Record that this part is alive now."""
        cls.objects.update_or_create(name=name, defaults={"at": timezone.now(), "detail": detail})

    @classmethod
    def claim_run(cls, name: str, interval: timedelta) -> bool:
        """Return True for the one process that is to do this periodic work now, at most once per interval."""
        now = timezone.now()
        cls.objects.get_or_create(name=name, defaults={"at": now - interval})
        due = not_after("at", now - interval, now)
        return cls.objects.filter(due, name=name).update(at=now) == 1
