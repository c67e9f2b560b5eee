"""Parse untrusted JSON strictly and with a limited depth, so that recursive code can process the result."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import NoReturn

MAX_DEPTH = 100  # levels; real payloads have far fewer
MAX_DIGITS = 308  # of an integer; the largest number of most parsers has 309
MAX_CUT_BRACKETS = 500_000  # in a text that is searched for deep values
BYTE_ORDER_MARK = "\ufeff"


class TooDeepError(ValueError):
    """The JSON is nested too deeply."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Stands for a value that is not JSON or is nested too deeply."""

    reason: str


def loads(body: bytes) -> object:
    """Return the parsed value of UTF-8, UTF-16 or UTF-32, with or without byte order marks.

    Raises ValueError for anything that is not JSON (RFC 8259): wrong encoding, wrong syntax, NaN, infinite numbers,
    integers longer than MAX_DIGITS. Raises TooDeepError for nesting deeper than MAX_DEPTH.
    """
    text = decode_text(body)
    try:
        value: object = _strict.decode(text)
    except RecursionError:
        raise TooDeepError("nested too deeply") from None
    # Each level needs an opening bracket, so most values pass by counting brackets, without a walk over the value.
    if _brackets(text) > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise TooDeepError("nested too deeply")
    return value


def loads_with_flaws(body: bytes) -> object:
    """Return the parsed value with a Flaw in place of each part that `loads` refuses, for `find_flaw`.

    Texts that are not UTF-8 hold surrogates. Raises ValueError if the body as a whole is not JSON.
    """
    text = decode_text(body, errors="surrogateescape")
    if _brackets(text) > MAX_DEPTH:
        text = _cut_deep_values(text)
    try:
        value: object = _tolerant.decode(text)
    except RecursionError:
        raise TooDeepError("nested too deeply") from None
    return value


def find_flaw(value: object) -> str | None:
    """Return why a value of `loads_with_flaws` cannot be used; None if it can."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Flaw):
            return item.reason
        if isinstance(item, str) and _UNDECODED.search(item):
            return "It is not UTF-8."
        if isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item
    return None


def decode_text(body: bytes, errors: str = "strict") -> str:
    """Return the text of JSON in UTF-8, UTF-16 or UTF-32, without byte order marks. Raises UnicodeDecodeError."""
    encoding = json.detect_encoding(body)
    # Half of a surrogate pair is as harmless in UTF-16 as its escape is in UTF-8.
    text = body.decode(encoding, errors if encoding.startswith("utf-8") else "surrogatepass")
    return text.lstrip(BYTE_ORDER_MARK)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _parse_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too large")
    return int(text)


_TOO_DEEP = "1e987654321"  # the decoder passes it to `_float_or_flaw`
_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes that `surrogateescape` has passed on
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{\]}]', re.DOTALL)


def _flaw_of_constant(name: str) -> Flaw:
    return Flaw(f"{name} is not a JSON number.")


def _float_or_flaw(text: str) -> float | Flaw:
    if text == _TOO_DEEP:
        return Flaw("It is nested too deeply.")
    number = float(text)
    return Flaw("A number is too large.") if math.isinf(number) else number


def _int_or_flaw(text: str) -> int | Flaw:
    return Flaw("A number is too large.") if len(text) > MAX_DIGITS else int(text)


_strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_int)
_tolerant = json.JSONDecoder(
    parse_constant=_flaw_of_constant,
    parse_float=_float_or_flaw,
    parse_int=_int_or_flaw,
)


def _brackets(text: str) -> int:
    return text.count("[") + text.count("{")


def _cut_deep_values(text: str) -> str:
    """Return the text with a number in place of each list or object deeper than MAX_DEPTH. Raises TooDeepError."""
    if _brackets(text) > MAX_CUT_BRACKETS:
        raise TooDeepError("nested too deeply")
    parts: list[str] = []
    depth = start = 0
    for match in _TOKENS.finditer(text):
        if match[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts += [text[start : match.start()], _TOO_DEEP]
        elif match[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = match.end()
            depth -= 1
    if depth > MAX_DEPTH:
        raise TooDeepError("nested too deeply")
    return "".join([*parts, text[start:]])


def _is_deeper_than(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
