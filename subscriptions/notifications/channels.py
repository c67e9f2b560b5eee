"""Adding, changing and deleting notification channels. Each change is written to the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from providers.audit import log
from providers.contract.errors import FieldError, InvalidInput
from providers.db.encryption import Undecryptable
from providers.names import MESSAGE, is_visible
from subscriptions.models import Channel, ChannelKind
from subscriptions.notifications.dispatch import HISTORY_KIND

FIELDS = ("name", "kind", "enabled", "recipients", "url", "min_severity", "every", "remind_every", "recoveries")
SECRET_FIELDS = frozenset({"url"})


@transaction.atomic
def add(*, by: str, **values: Any) -> Channel:
    """Add a channel; nothing is sent yet. Its first message reports the problems that are open now.

    Raises InvalidInput.
    """
    channel = Channel(**values)
    _check(channel)
    channel.save()
    _note(channel, log.CREATED, by, before={})
    return channel


@transaction.atomic
def change(channel: Channel, *, by: str, **values: Any) -> None:
    """Change a channel. A failed message is retried at once. Raises InvalidInput."""
    before, was_enabled = _values(channel), channel.enabled
    for name, value in values.items():
        setattr(channel, name, value)
    _check(channel)
    now = timezone.now()
    channel.failures, channel.last_error, channel.retry_at = 0, "", None
    if channel.enabled and not was_enabled:
        channel.caught_up_at = now  # problems that opened and were resolved while it was disabled are not reported
    channel.save(update_fields=[*values, "failures", "last_error", "retry_at", "caught_up_at"])
    _note(channel, log.CHANGED, by, before=before)


@transaction.atomic
def remove(channel: Channel, *, by: str) -> None:
    """Delete a channel with its messages."""
    log.record(by, log.DELETED, HISTORY_KIND, subject_id=channel.uid, name=channel.name)
    channel.delete()


def _check(channel: Channel) -> None:
    errors = list(_email_errors(channel) if channel.kind == ChannelKind.EMAIL else _webhook_errors(channel))
    if not channel.name.strip():
        errors.append(FieldError("name", "required", "Enter a name."))
    if not is_visible(channel.name):
        errors.append(FieldError("name", "invalid", MESSAGE))
    if errors:
        raise InvalidInput(errors)


def _email_errors(channel: Channel) -> list[FieldError]:
    if not channel.recipients:
        return [FieldError("recipients", "required", "Enter at least one recipient.")]
    errors: list[FieldError] = []
    for index, address in enumerate(channel.recipients):
        try:
            validate_email(address)
        except ValidationError:
            errors.append(FieldError(f"recipients.{index}", "invalid", f"{address} is not an email address."))
    return errors


def _webhook_errors(channel: Channel) -> list[FieldError]:
    try:
        parts = urlsplit(_url(channel))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        usable = False
    if not _url(channel):
        return [FieldError("url", "required", "Enter the URL of the webhook.")]
    return [] if usable else [FieldError("url", "invalid", "Enter an http or https URL.")]


def _url(channel: Channel) -> str:
    """Return the URL; empty if no key decrypts it, so that a new one can be entered."""
    try:
        return str(channel.url)
    except Undecryptable:
        return ""


def _values(channel: Channel) -> Mapping[str, object]:
    values = {name: getattr(channel, name) for name in FIELDS if name != "url"} | {"url": _url(channel)}
    intervals = {name: str(values[name]) for name in ("every", "remind_every") if values[name] is not None}
    return {**values, **intervals}


def _note(channel: Channel, action: str, by: str, *, before: Mapping[str, object]) -> None:
    log.record(
        by,
        action,
        HISTORY_KIND,
        subject_id=channel.uid,
        name=channel.name,
        before=before,
        after=_values(channel),
        secret=SECRET_FIELDS,
    )
