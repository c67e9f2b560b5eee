"""Adding, changing and removing the channels that tell people of problems; each with its history entry."""

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
from subscriptions.models import Channel, ChannelKind
from subscriptions.notifications.dispatch import CHANNEL

FIELDS = ("name", "kind", "enabled", "recipients", "url", "min_severity", "every", "remind_every", "recoveries")
SECRET = frozenset({"url"})


@transaction.atomic
def add(*, by: str, **values: Any) -> Channel:
    """A new channel; nothing is sent. What is open now is told to it. Raises InvalidInput."""
    channel = Channel(**values)
    _check(channel)
    channel.save()
    _note(channel, log.CREATED, by, before={})
    return channel


@transaction.atomic
def change(channel: Channel, *, by: str, **values: Any) -> None:
    """Changes it; what failed is tried again at once. Raises InvalidInput."""
    before, was_enabled = _shown(channel), channel.enabled
    for name, value in values.items():
        setattr(channel, name, value)
    _check(channel)
    now = timezone.now()
    channel.failures, channel.last_error, channel.retry_at = 0, "", None
    if channel.enabled and not was_enabled:
        channel.caught_up_at = now  # what came and went meanwhile is no news
    channel.save(update_fields=[*values, "failures", "last_error", "retry_at", "caught_up_at"])
    _note(channel, log.CHANGED, by, before=before)


@transaction.atomic
def remove(channel: Channel, *, by: str) -> None:
    """Takes it away, with its messages."""
    log.note(by, log.DELETED, CHANNEL, subject_id=channel.uid, name=channel.name)
    channel.delete()


def _check(channel: Channel) -> None:
    errors = list(_email_errors(channel) if channel.kind == ChannelKind.EMAIL else _webhook_errors(channel))
    if not channel.name.strip():
        errors.append(FieldError("name", "required", "Give it a name."))
    if errors:
        raise InvalidInput(errors)


def _email_errors(channel: Channel) -> list[FieldError]:
    if not channel.recipients:
        return [FieldError("recipients", "required", "Name at least one recipient.")]
    errors: list[FieldError] = []
    for index, address in enumerate(channel.recipients):
        try:
            validate_email(address)
        except ValidationError:
            errors.append(FieldError(f"recipients.{index}", "invalid", f"{address} is no e-mail address."))
    return errors


def _webhook_errors(channel: Channel) -> list[FieldError]:
    try:
        parts = urlsplit(_url(channel))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or a broken IPv6 address
        usable = False
    if not _url(channel):
        return [FieldError("url", "required", "Give the address of the webhook.")]
    return [] if usable else [FieldError("url", "invalid", "This is no http(s) address.")]


def _url(channel: Channel) -> str:
    """The address; none when no key opens it any more, so that a new one can be entered."""
    try:
        return str(channel.url)
    except Undecryptable:
        return ""


def _shown(channel: Channel) -> Mapping[str, object]:
    values = {name: getattr(channel, name) for name in FIELDS if name != "url"} | {"url": _url(channel)}
    pauses = {name: str(values[name]) for name in ("every", "remind_every") if values[name] is not None}
    return {**values, **pauses}


def _note(channel: Channel, action: str, by: str, *, before: Mapping[str, object]) -> None:
    log.note(
        by,
        action,
        CHANNEL,
        subject_id=channel.uid,
        name=channel.name,
        before=before,
        after=_shown(channel),
        secret=SECRET,
    )
