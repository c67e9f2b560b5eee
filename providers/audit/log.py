"""The audit trail: one row for each action of a person or a program."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.masking import MASK
from providers.models import HistoryEntry

CREATED, CHANGED, DELETED = "created", "changed", "deleted"


def record(
    actor: str,
    action: str,
    subject_type: str,
    *,
    subject_id: object,
    name: str = "",
    account_id: int | None = None,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    secret: frozenset[str] = frozenset(),
) -> None:
    """Record an action. Call it in the transaction of the change itself.

    Only the fields in which `before` and `after` differ are stored; those named in `secret` as `***`. `account_id` is
    the primary key of the account on whose timeline the entry appears.
    """
    changes = [
        {"field": field, "from": _masked(field, old, secret), "to": _masked(field, new, secret)}
        for field, old, new in _differences(before or {}, after or {})
    ]
    HistoryEntry.objects.create(
        actor=actor[:200],
        action=action,
        subject_type=subject_type,
        subject_id=str(subject_id),
        subject_name=name[:200],
        account_id=account_id,
        changes=changes,
    )


def _differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[tuple[str, object, object]]:
    fields = dict.fromkeys([*before, *after])
    return [(name, before.get(name), after.get(name)) for name in fields if before.get(name) != after.get(name)]


def _masked(field: str, value: object, secret: frozenset[str]) -> object:
    return MASK if field in secret and value not in (None, "") else value
