"""`pk__among=keys`: as `__in`, for many keys. They are one parameter there, so that neither Django, nor the driver, nor
the database has to go through a statement that is as long as they are."""

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
    """Of a column of numbers or UUIDs, in a set; Django would look at each element of a list."""

    lookup_name = "among"
    prepare_rhs = False
    rhs: Collection[Any]

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        """An array."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", (*parameters, list(self.rhs))

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        """A JSON list, for SQLite."""
        column, parameters = self.process_lhs(compiler, connection)
        keys = [key.hex if isinstance(key, UUID) else key for key in self.rhs]
        known = "SELECT value FROM json_each(%s)"
        return f"{column} IN ({known})", (*parameters, json.dumps(keys))
