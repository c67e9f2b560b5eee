"""The columns that the reconciler writes, and their values.

The names come from the column groups of the Subscription model, so that a new column has to be declared only once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from django.db import models

from subscriptions.models import (
    DesiredColumns,
    LearnedColumns,
    ObservedColumns,
    SharedColumns,
    StatusColumns,
    Subscription,
)

ColumnValues = dict[str, Any]


def column_names(*groups: type[models.Model]) -> tuple[str, ...]:
    """Return the names of the columns in these groups."""
    return tuple(field.name for group in groups for field in group._meta.fields)  # noqa: SLF001 - documented by Django


RECONCILED = column_names(ObservedColumns, LearnedColumns, SharedColumns, StatusColumns)
# Read again before each save, because people may have changed them: the state is derived from them.
REFRESHED = (*column_names(DesiredColumns), "deleted_at")
OBSERVATION_TIMES = ("observed_at", "details_at", "last_reconciled_at")
# `secrets` is left out because an observation never changes it, and reading it decrypts.
COMPARED = tuple(name for name in RECONCILED if name not in OBSERVATION_TIMES and name != "secrets")


def reconciled_values(row: Subscription) -> ColumnValues:
    """Return the values of the columns that the reconciler writes."""
    return {name: getattr(row, name) for name in RECONCILED}


def with_values(row: Subscription, values: Mapping[str, Any]) -> Subscription:
    """Return a copy of the row with these column values. It is a value to compute with and is never saved."""
    changed = copy.copy(row)
    set_values(changed, values)
    return changed


def set_values(row: Subscription, values: Mapping[str, Any]) -> None:
    """Set these column values on the row, without saving it."""
    for name, value in values.items():
        setattr(row, name, value)


def is_same(before: Subscription, after: Subscription) -> bool:
    """Return whether two versions of a row differ in nothing but the times of observation."""
    return all(getattr(before, name) == getattr(after, name) for name in COMPARED)
