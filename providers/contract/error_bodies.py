"""Read the message and the field from JSON error bodies, in any of the common forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from providers.contract.errors import InvalidResponse
from providers.contract.responses import ProviderResponse

MAX_MESSAGE = 500  # characters
MAX_DEPTH = 4
MAX_ENTRIES = 20  # of a list

_TEXT_KEYS = ("message", "errorMessage", "msg", "description")
_DETAIL_KEYS = ("details", "detail")
_LIST_KEYS = ("Errors", "errors", "formErrors")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The error in a response. `message` is empty if the body has none; `field` is our name of the field."""

    message: str = ""
    field: str | None = None


def error_object(response: ProviderResponse) -> Mapping[str, object]:
    """Return the JSON object in the body of an error response; empty if the body is anything else."""
    try:
        body = response.json()
    except InvalidResponse:
        return {}
    return body if isinstance(body, dict) else {}


class ErrorBodyReader:
    """Reads error bodies.

    `fields` maps the provider's names of the fields that we send to ours. `lists` holds the provider's names of list
    fields, whose entries may be named one by one: `path[3]` becomes `paths.3`.

    Known forms are `{code, message, details}`, `{message}`, `{errorMessage}`, `{Errors: [{description, code}]}`,
    `{errors: [...]}`, `{formErrors: [{code, msg}]}` and `{inputErrors: {field: [{code, msg}]}}`
    (egnyte/python-egnyte, beplatform/egnyte-go-sdk). Any other form gives an empty result.
    """

    def __init__(self, fields: Mapping[str, str], *, lists: frozenset[str] = frozenset()) -> None:
        self._fields = fields
        self._lists = lists
        names = "|".join(re.escape(name) for name in fields)
        self._named = re.compile(rf"\b({names})\b(?:[\[.](\d{{1,3}})\]?)?")

    def read(self, response: ProviderResponse) -> ErrorBody:
        """Return all messages in the body, joined, and the first field that it names."""
        errors = tuple(self._find_errors(error_object(response), None, depth=MAX_DEPTH))
        return ErrorBody(
            "; ".join(dict.fromkeys(item.message for item in errors))[:MAX_MESSAGE],
            next((item.field for item in errors if item.field), None),
        )

    def _find_errors(self, value: object, field: str | None, *, depth: int) -> Iterator[ErrorBody]:
        if isinstance(value, str) and value.strip():
            yield ErrorBody(value.strip(), field or self._field_in(value))
        elif isinstance(value, list) and depth:
            for item in value[:MAX_ENTRIES]:
                yield from self._find_errors(item, field, depth=depth - 1)
        elif isinstance(value, dict) and depth:
            yield from self._from_object(value, field, depth=depth - 1)

    def _from_object(self, value: Mapping[str, object], field: str | None, *, depth: int) -> Iterator[ErrorBody]:
        named = value.get("field")
        field = field or (self._field_in(named) if isinstance(named, str) else None)
        message = _message(value)
        if message:
            yield ErrorBody(message, field or self._field_in(message))
        for key in _LIST_KEYS:
            yield from self._find_errors(value.get(key), field, depth=depth)
        by_field = value.get("inputErrors")
        if isinstance(by_field, dict):
            for name, item in by_field.items():
                yield from self._find_errors(item, self._field_in(name) or field, depth=depth)

    def _field_in(self, text: str) -> str | None:
        match = self._named.search(text)
        if not match:
            return None
        name, index = match.groups()
        return f"{self._fields[name]}.{index}" if index and name in self._lists else self._fields[name]


def _message(value: Mapping[str, object]) -> str:
    text, details = _first_text(value, _TEXT_KEYS), _first_text(value, _DETAIL_KEYS)
    code = value.get("code")
    message = " - ".join(dict.fromkeys(part for part in (text, details) if part))
    if isinstance(code, str | int) and not isinstance(code, bool) and str(code).strip():
        message = f"{message} ({code})" if message else str(code)
    return message


def _first_text(value: Mapping[str, object], keys: Sequence[str]) -> str:
    """Return the first non-empty string among these keys, stripped; otherwise an empty string."""
    texts = (text.strip() for key in keys if isinstance(text := value.get(key), str))
    return next((text for text in texts if text), "")
