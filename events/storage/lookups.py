"""The lookup `pk__among=keys`: like `__in`, for many keys.

The keys are one parameter, so that neither Django, nor the driver, nor the database has to process a statement whose
length grows with their number.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Lookup
from django.db.models.sql.compiler import SQLCompiler

Sql = tuple[str, tuple[Any, ...]]


@Field.register_lookup
class Among(Lookup[Any]):
    """Whether a number or UUID is in a collection. A set is fastest: Django examines every element of a list."""

    lookup_name = "among"
    prepare_rhs = False
    rhs: Collection[Any]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        """Pass the keys as an array."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", (*parameters, list(self.rhs))

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        """Pass the keys as a JSON list, for SQLite."""
        column, parameters = self.process_lhs(compiler, connection)
        keys = [key.hex if isinstance(key, UUID) else key for key in self.rhs]
        subquery = "SELECT value FROM json_each(%s)"
        return f"{column} IN ({subquery})", (*parameters, json.dumps(keys))
