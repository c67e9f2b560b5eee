"""Parse untrusted JSON strictly and with a limited depth, so that recursive code can process the result."""

from __future__ import annotations

import json
import math
from typing import NoReturn

MAX_DEPTH = 100  # levels; real payloads have far fewer


class TooDeepError(ValueError):
    """The JSON is nested too deeply."""


def loads(body: bytes) -> object:
    """Return the parsed value.

    Raises ValueError for anything that is not JSON (RFC 8259): wrong encoding, wrong syntax, NaN, infinite numbers,
    numbers too long to convert. Raises TooDeepError for nesting deeper than MAX_DEPTH.
    """
    try:
        value: object = _decoder.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise TooDeepError("nested too deeply") from None
    # Each level needs an opening bracket, so most values pass by counting brackets, without a walk over the value.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper_than(value, MAX_DEPTH):
        raise TooDeepError("nested too deeply")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse_finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_finite)


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
