"""Model fields for JSON from outside, and for JSON that must not be readable in the database."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from providers.contract.sanitize import sanitize_json_text
from providers.db.encryption import decrypt, encrypt


class JSONTextField(models.TextField[Any, Any]):
    """JSON stored as ASCII text.

    The text keeps the order of keys, and can hold what the databases' JSON types refuse: an escaped NUL, or a huge
    number. Half of a surrogate pair is replaced, so that the text can be sent unchanged. Queries cannot look inside it.
    """

    _pyi_private_set_type: Any  # for the type checker: any JSON value can be set and read
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_: object) -> Any:
        """Parse the stored text."""
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        """Parse the text of a form or a fixture."""
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        """Convert to the text in the database."""
        if value is None:
            return None
        return sanitize_json_text(json.dumps(value, separators=(",", ":"), allow_nan=False))

    def value_to_string(self, obj: models.Model) -> str:
        """Convert to the text in a fixture."""
        return json.dumps(self.value_from_object(obj))


class EncryptedJSONField(models.TextField[Any, Any]):
    """JSON that is encrypted at rest. An empty object, which contains no secret, is stored as an empty text."""

    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_: object) -> Any:
        """Parse the stored text."""
        if value is None:
            return None
        return json.loads(decrypt(value)) if value else {}

    def to_python(self, value: Any) -> Any:
        """Parse the text of a form or a fixture."""
        return value

    def get_prep_value(self, value: Any) -> str | None:
        """Convert to the text in the database."""
        if value is None:
            return None
        return "" if value == {} else encrypt(json.dumps(value))
