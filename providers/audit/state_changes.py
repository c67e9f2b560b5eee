"""The only way to write a state, which records every change of it for the timeline.

The record is written in the transaction of the change itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import models, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from providers.models import StateChange
from providers.times import has_elapsed

M = TypeVar("M", bound=models.Model)
# The same change within this time is counted on the first record, so that a flapping state stays readable.
MERGE_WITHIN = timedelta(hours=1)
CHANGES_COMPARED = 20  # newest records among which the same change is looked for


def write(rows: QuerySet[M], *, by: str, **values: Any) -> int:
    """Run `rows.update(**values)` and record each change of state in the same transaction.

    Return the number of updated rows. `by` is the actor. The model names the field of its state in `state_field`, the
    path to its account's primary key in `account_key`, and its subject type in `subject`.
    """
    field: str = rows.model.state_field  # type: ignore[attr-defined]  # see above
    if field not in values:
        return rows.update(**values)
    with transaction.atomic():
        before = _changing(rows, field, values[field])
        updated = rows.update(**values)
        if updated:  # otherwise another process has changed the rows
            _record(rows.model, before, str(values[field]), str(values.get(f"{field}_reason", "")), by)
    return updated


def _changing(rows: QuerySet[M], field: str, after: str) -> list[Mapping[str, Any]]:
    """Return the rows whose state changes, locked so that no other write comes in between."""
    key: str = rows.model.account_key  # type: ignore[attr-defined]
    locked = rows.exclude(**{field: after}).order_by("pk").select_for_update(no_key=True)
    return list(locked.values("uid", before=F(field), of_account=F(key)))


def _record(model: type[models.Model], before: Iterable[Mapping[str, Any]], after: str, reason: str, by: str) -> None:
    now = timezone.now()
    for row in before:
        subject = str(row["uid"])
        earlier = _recent_record(subject, row["before"], after, now)
        if earlier is not None:
            StateChange.objects.filter(pk=earlier.pk).update(times=F("times") + 1, last_at=now, reason=reason)
            continue
        StateChange.objects.create(
            account_id=row["of_account"],
            subject_type=model.subject,  # type: ignore[attr-defined]
            subject_id=subject,
            before=row["before"],
            after=after,
            reason=reason,
            actor=by[:200],
            at=now,
            last_at=now,
        )


def _recent_record(subject: str, before: str, after: str, now: datetime) -> StateChange | None:
    recent = StateChange.objects.filter(subject_id=subject).order_by("-uid")[:CHANGES_COMPARED]
    return next(
        (
            change
            for change in recent
            if (change.before, change.after) == (before, after) and not has_elapsed(change.at, MERGE_WITHIN, now)
        ),
        None,
    )
