"""Model fields for JSON that comes from outside and for JSON that must not be readable in the database."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from providers.encryption import decrypt, encrypt


class JSONTextField(models.TextField[Any, Any]):
    """JSON kept as ASCII text: byte-faithful key order, and safe for what a database's own JSON type refuses
    (an escaped NUL or half a surrogate pair in what a provider sent). Not for querying inside."""

    def from_db_value(self, value: str | None, *_: object) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))


class EncryptedJSONField(models.TextField[Any, Any]):
    """JSON that is encrypted at rest."""

    def from_db_value(self, value: str | None, *_: object) -> Any:
        return None if value is None else json.loads(decrypt(value))

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encrypt(json.dumps(value))
