"""JSON that anybody may have sent: strict, and of a depth that everything which later walks it can recurse."""

from __future__ import annotations

import json
import math
from typing import NoReturn

MAX_DEPTH = 100  # deeper than anything real


class TooDeepError(ValueError):
    """The JSON is nested too deeply."""


def loads(body: bytes) -> object:
    """The value. Raises ValueError for everything else than JSON (RFC 8259): encoding, syntax, NaN, infinite numbers,
    numbers too long to convert; TooDeepError for nesting deeper than MAX_DEPTH."""
    try:
        value: object = _decoder.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise TooDeepError("nested too deeply") from None
    # Each level takes a bracket, so most need no walk.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise TooDeepError("nested too deeply")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def _deeper_than(value: object, limit: int) -> bool:
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
