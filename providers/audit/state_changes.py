"""Writing a state: the only way to do it, so that every change of one is on the timeline.

A row's state says how it stands now. That it was another one yesterday, and why, would be lost with the next write; so
the change is written down in the transaction of the write itself."""

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
# The same change again within this time is counted on the first one: what goes to and fro every minute stays readable.
FOLDED_WITHIN = timedelta(hours=1)
LOOKED_BACK = 20  # newest changes among which the same one is looked for


def write(rows: QuerySet[M], *, by: str, **values: Any) -> int:
    """`rows.update(**values)`, with each change of state written down in the same transaction. Returns how many rows
    were updated. `by` is who or what brought it about.

    The model says in `state_field` which field is its state, in `account_key` where its account's number is, and in
    `subject` what it is called."""
    field: str = rows.model.state_field  # type: ignore[attr-defined]  # see above
    if field not in values:
        return rows.update(**values)
    with transaction.atomic():
        before = _changing(rows, field, values[field])
        updated = rows.update(**values)
        if updated:  # else somebody else has the row by now
            _note(rows.model, before, str(values[field]), str(values.get(f"{field}_reason", "")), by)
    return updated


def _changing(rows: QuerySet[M], field: str, after: str) -> list[Mapping[str, Any]]:
    """The rows whose state will be another one, locked until it is. Nobody's write falls between."""
    key: str = rows.model.account_key  # type: ignore[attr-defined]
    locked = rows.exclude(**{field: after}).order_by("pk").select_for_update(no_key=True)
    return list(locked.values("uid", before=F(field), of_account=F(key)))


def _note(model: type[models.Model], before: Iterable[Mapping[str, Any]], after: str, reason: str, by: str) -> None:
    now = timezone.now()
    for row in before:
        subject = str(row["uid"])
        again = _same_lately(subject, row["before"], after, now)
        if again is not None:
            StateChange.objects.filter(pk=again.pk).update(times=F("times") + 1, last_at=now, reason=reason)
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


def _same_lately(subject: str, before: str, after: str, now: datetime) -> StateChange | None:
    recent = StateChange.objects.filter(subject_id=subject).order_by("-uid")[:LOOKED_BACK]
    return next(
        (
            change
            for change in recent
            if (change.before, change.after) == (before, after) and not has_elapsed(change.at, FOLDED_WITHIN, now)
        ),
        None,
    )
