"""Write JSON as JavaScript's JSON.stringify does."""

from __future__ import annotations

import json
import re
from decimal import Decimal

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import load_batch
from providers.contract.strict_json import Flaw

MAX_PLAIN_DIGITS = 21  # before the decimal point of a number that JavaScript prints without an exponent
MAX_LEADING_ZEROS = 6  # of such a number, including the zero before the point
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def to_compact_json(body: bytes) -> bytes | None:
    """Return the body as JavaScript's JSON.stringify(JSON.parse(body)) writes it; None if it is not JSON."""
    try:
        value, _ = load_batch(body)
    except UnreadableRequest:
        return None
    return _stringify(value).encode()


def _stringify(value: object) -> str:
    """Serialize a value as JSON.stringify does.

    Unlike in Python, numbers are doubles, array index keys come first, and lone surrogates are escaped.
    """
    if isinstance(value, dict):
        indexes = sorted((key for key in value if _is_index(key)), key=int)
        keys = [*indexes, *(key for key in value if not _is_index(key))] if indexes else value
        return "{" + ",".join([f"{_stringify(key)}:{_stringify(value[key])}" for key in keys]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_stringify(item) for item in value]) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _format_number(value)
    if isinstance(value, Flaw):
        return "null"  # what JSON.stringify writes for a number that is too large
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def _is_index(key: str) -> bool:
    return bool(_INDEX.fullmatch(key)) and int(key) < 2**32 - 1


def _format_number(value: float) -> str:
    """Format a number as JavaScript does: the shortest digits of the double, with an exponent from 1e21 and below 1e-6.

    A number that is too large for a double is Infinity in JavaScript, which JSON.stringify writes as null.
    """
    try:
        double = float(value)
    except OverflowError:
        return "null"
    if not double:
        return "0"
    sign, all_digits, exponent = Decimal(repr(double)).as_tuple()
    point = len(all_digits) + int(exponent)  # position of the decimal point within the digits
    digits = "".join(map(str, all_digits)).rstrip("0")
    if len(digits) <= point <= MAX_PLAIN_DIGITS:
        text = digits.ljust(point, "0")
    elif 0 < point <= MAX_PLAIN_DIGITS:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -MAX_LEADING_ZEROS < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
    return "-" + text if sign else text
