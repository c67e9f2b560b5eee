"""API tokens, which authenticate other services, and the failed logins of people."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar

from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone

from providers.db.clock_steps import not_after
from providers.db.fields import JSONTextField
from providers.db.ids import new_id
from providers.digests import text_digest
from providers.times import has_elapsed

MARKER = "hkt_"
NAME_LENGTH = 100
PREFIX_LENGTH = 12  # shown, so that people can tell tokens apart; the other 35 characters stay secret
LAST_USED_INTERVAL = timedelta(minutes=1)
SENT_FORM_AGE = timedelta(days=1)


class Scope(models.TextChoices):
    """The scopes of a token. `write` includes `read`."""

    ACCOUNTS_READ = "accounts:read", "See accounts"
    ACCOUNTS_WRITE = "accounts:write", "Change accounts"
    SUBSCRIPTIONS_READ = "subscriptions:read", "See subscriptions, operations and problems"
    SUBSCRIPTIONS_WRITE = "subscriptions:write", "Change subscriptions"
    EVENTS_READ = "events:read", "See requests and events"
    EVENTS_WRITE = "events:write", "Reprocess requests"
    SECRETS_READ = "secrets:read", "See the secrets that authenticate inbound requests"


class ApiToken(models.Model):
    """An API token. Only its digest is stored: 256 random bits need neither salt nor a slow hash."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    name = models.CharField(max_length=NAME_LENGTH)
    prefix = models.CharField(max_length=20, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = JSONTextField(default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    is_authenticated = True  # REST framework reads this from `request.user`

    class Meta:
        verbose_name = "API token"
        verbose_name_plural = "API tokens"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"

    @classmethod
    def issue(cls, name: str, scopes: Iterable[str] | None = None) -> tuple[ApiToken, str]:
        """Create a token. Return it with its text, which cannot be shown again. `scopes` defaults to all."""
        text = MARKER + secrets.token_urlsafe(32)
        granted = Scope.values if scopes is None else [scope for scope in Scope.values if scope in set(scopes)]
        token = cls.objects.create(name=name, prefix=text[:PREFIX_LENGTH], digest=text_digest(text), scopes=granted)
        return token, text

    @classmethod
    def find(cls, text: str) -> ApiToken | None:
        """Return the token with that text, or None if there is none or it was revoked.

        The lookup is by digest, so its duration reveals nothing about any token.
        """
        return cls.objects.filter(digest=text_digest(text), revoked_at=None).first()

    @property
    def actor(self) -> str:
        """Return the name under which this token appears in operations and the audit trail."""
        return f"api:{self.name}"

    def allows(self, scope: str) -> bool:
        """Return whether the token has the scope, or the write scope that includes it."""
        area, _, verb = scope.partition(":")
        return scope in self.scopes or (verb == "read" and f"{area}:write" in self.scopes)

    def note_use(self) -> None:
        """Record that the token was used, at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or has_elapsed(self.last_used_at, LAST_USED_INTERVAL, now):
            stale = Q(last_used_at=None) | not_after("last_used_at", now - LAST_USED_INTERVAL, now)
            type(self).objects.filter(stale, pk=self.pk).update(last_used_at=now)

    def revoke(self) -> None:
        """Revoke the token. This cannot be undone."""
        type(self).objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
        self.refresh_from_db(fields=["revoked_at"])


class FailedLogins(models.Model):
    """Failed logins of one user name or from one address, and until when no password is checked for it."""

    key = models.CharField(max_length=64, unique=True)  # a digest; see `config.web.login_throttle`
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    blocked_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.failures} failed logins"


class SentForm(models.Model):
    """A form of the dashboard that was sent: its digest, and where its result is once it was carried out.

    Only `config.web.form_once` uses it.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    sent_at = models.DateTimeField(default=timezone.now, db_index=True)
    location = models.CharField(max_length=2000, blank=True, default="")

    def __str__(self) -> str:
        return self.digest

    @classmethod
    def claim(cls, digest: str) -> bool:
        """Return whether this is the first request with this digest. Forget forms that were sent long ago."""
        cls.objects.filter(sent_at__lt=timezone.now() - SENT_FORM_AGE).delete()
        try:
            with transaction.atomic():
                cls.objects.create(digest=digest)
        except IntegrityError:
            return False
        return True
