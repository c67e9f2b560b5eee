"""What the JSON error bodies of providers complain about, whichever of the usual envelopes they use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from providers.contract.errors import InvalidResponse
from providers.contract.responses import ProviderResponse

MAX_WORDS = 500
MAX_DEPTH = 4
MAX_ENTRIES = 20

_TEXT_KEYS = ("message", "errorMessage", "msg", "description")
_DETAIL_KEYS = ("details", "detail")
_LIST_KEYS = ("Errors", "errors", "formErrors")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a provider says is wrong, empty when it says nothing; `field` is our name for the field that it names."""

    words: str = ""
    field: str | None = None


class ComplaintReader:
    """Reads error bodies. `fields` maps a provider's names of what we send to ours; `lists` (theirs) are those whose
    entries may be complained about one by one (`path[3]` becomes `paths.3`).

    Known are `{code, message, details}`, `{message}`, `{errorMessage}`, `{Errors: [{description, code}]}`,
    `{errors: [...]}`, `{formErrors: [{code, msg}]}` and `{inputErrors: {field: [{code, msg}]}}`
    (egnyte/python-egnyte, beplatform/egnyte-go-sdk). Anything else yields nothing.
    """

    def __init__(self, fields: Mapping[str, str], *, lists: frozenset[str] = frozenset()) -> None:
        self._fields = fields
        self._lists = lists
        names = "|".join(re.escape(name) for name in fields)
        self._named = re.compile(rf"\b({names})\b(?:[\[.](\d{{1,3}})\]?)?")

    def read(self, answer: ProviderResponse) -> Complaint:
        """Everything that the body complains about in one sentence, and the first field that it names."""
        try:
            body: object = answer.json()
        except InvalidResponse:
            return Complaint()
        found = tuple(self._complaints(body, None, depth=MAX_DEPTH)) if isinstance(body, dict) else ()
        return Complaint(
            "; ".join(dict.fromkeys(item.words for item in found))[:MAX_WORDS],
            next((item.field for item in found if item.field), None),
        )

    def _complaints(self, value: object, field: str | None, *, depth: int) -> Iterator[Complaint]:
        if isinstance(value, str) and value.strip():
            yield Complaint(value.strip(), field or self._field_in(value))
        elif isinstance(value, list) and depth:
            for item in value[:MAX_ENTRIES]:
                yield from self._complaints(item, field, depth=depth - 1)
        elif isinstance(value, dict) and depth:
            yield from self._from_object(value, field, depth=depth - 1)

    def _from_object(self, value: Mapping[str, object], field: str | None, *, depth: int) -> Iterator[Complaint]:
        named = value.get("field")
        field = field or (self._field_in(named) if isinstance(named, str) else None)
        words = _words(value)
        if words:
            yield Complaint(words, field or self._field_in(words))
        for key in _LIST_KEYS:
            yield from self._complaints(value.get(key), field, depth=depth)
        by_field = value.get("inputErrors")
        if isinstance(by_field, dict):
            for name, item in by_field.items():
                yield from self._complaints(item, self._field_in(name) or field, depth=depth)

    def _field_in(self, text: str) -> str | None:
        found = self._named.search(text)
        if not found:
            return None
        name, index = found.groups()
        return f"{self._fields[name]}.{index}" if index and name in self._lists else self._fields[name]


def _words(value: Mapping[str, object]) -> str:
    text = next((found for key in _TEXT_KEYS if isinstance(found := value.get(key), str) and found.strip()), "")
    more = next((found for key in _DETAIL_KEYS if isinstance(found := value.get(key), str) and found.strip()), "")
    code = value.get("code")
    words = " - ".join(dict.fromkeys(part.strip() for part in (text, more) if part))
    if isinstance(code, str | int) and not isinstance(code, bool) and str(code).strip():
        words = f"{words} ({code})" if words else str(code)
    return words
