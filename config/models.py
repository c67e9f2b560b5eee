"""API tokens: what other services show to be let in."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.db.clock_steps import not_after
from providers.db.fields import JSONTextField
from providers.db.ids import new_id
from providers.digests import text_digest
from providers.times import has_elapsed

MARK = "hkt_"
NAME_LENGTH = 100
PREFIX_LENGTH = 12  # shown, so that a person can tell tokens apart; the other 35 characters stay secret
USED_EVERY = timedelta(minutes=1)


class Scope(models.TextChoices):
    """What a token may do. `write` includes `read`."""

    ACCOUNTS_READ = "accounts:read", "See accounts"
    ACCOUNTS_WRITE = "accounts:write", "Change accounts"
    SUBSCRIPTIONS_READ = "subscriptions:read", "See subscriptions, operations and problems"
    SUBSCRIPTIONS_WRITE = "subscriptions:write", "Change subscriptions"
    EVENTS_READ = "events:read", "See requests and events"
    EVENTS_WRITE = "events:write", "Reprocess requests, keep consumers"
    DESTINATIONS_READ = "destinations:read", "See destinations, deliveries and replays"
    DESTINATIONS_WRITE = "destinations:write", "Change destinations, retry and replay"
    SECRETS_READ = "secrets:read", "See the secrets that prove inbound requests"


class ApiToken(models.Model):
    """One token. Only its digest is kept: 256 random bits need no salt and no slow hash, and no two digests meet."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    name = models.CharField(max_length=NAME_LENGTH)
    prefix = models.CharField(max_length=20, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = JSONTextField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    is_authenticated = True  # as REST framework asks it of a user

    class Meta:
        verbose_name = "API token"
        verbose_name_plural = "API tokens"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    @classmethod
    def issue(cls, name: str, scopes: Iterable[str] | None = None) -> tuple[ApiToken, str]:
        """A new token and its text, which nobody can show again. All scopes when none are named."""
        text = MARK + secrets.token_urlsafe(32)
        wanted = Scope.values if scopes is None else [scope for scope in Scope.values if scope in set(scopes)]
        token = cls.objects.create(name=name, prefix=text[:PREFIX_LENGTH], digest=text_digest(text), scopes=wanted)
        return token, text

    @classmethod
    def find(cls, text: str) -> ApiToken | None:
        """The token with that text, unless it was revoked. The look-up goes by the digest, so its time tells nothing
        about any token."""
        return cls.objects.filter(digest=text_digest(text), revoked_at=None).first()

    @property
    def actor(self) -> str:
        """Who did it, for operations and history."""
        return f"api:{self.name}"

    def allows(self, scope: str) -> bool:
        """Whether it has that scope, or the one to write what this one only reads."""
        area, _, verb = scope.partition(":")
        return scope in self.scopes or (verb == "read" and f"{area}:write" in self.scopes)

    def note_use(self) -> None:
        """Writes down that it was used, at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or has_elapsed(self.last_used_at, USED_EVERY, now):
            stale = Q(last_used_at=None) | not_after("last_used_at", now - USED_EVERY, now)
            type(self).objects.filter(stale, pk=self.pk).update(last_used_at=now)

    def revoke(self) -> None:
        """Ends it for good."""
        type(self).objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
        self.refresh_from_db(fields=["revoked_at"])
