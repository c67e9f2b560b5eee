"""Silences as entries of the timeline of a subscription or an account."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

from events.models import Silence
from providers.audit.actors import SCHEDULER
from providers.times import readable_time
from subscriptions.models import Subscription
from subscriptions.timeline import Entry, Kind, Source, Span, Subject, register

SILENCE = "silence"


def _entries(subject: Subject, span: Span) -> Iterable[Entry]:
    condition = Q(subscription=subject.pk) if isinstance(subject, Subscription) else Q(account=subject.pk)
    rows = Silence.objects.filter(condition, confirmed_at__isnull=False).select_related("subscription")
    for row in span.cut(rows.defer("subscription__secrets")):
        ended = f" It ended at {readable_time(row.ended_at)}." if row.ended_at else ""
        yield Entry(
            key=row.uid,
            at=row.confirmed_at or row.probed_at,
            kind=SILENCE,
            title="fell silent",
            reason=f"No event since {readable_time(row.since)}. {row.message}{ended}",
            actor=SCHEDULER,
            subscription=row.subscription.uid,
        )


register(Source({SILENCE: Kind("Silence", "volume_off")}, _entries))
