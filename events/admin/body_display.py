"""Prepare the body and the parameters of a request for its page."""

from __future__ import annotations

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from providers.contract import strict_json
from providers.contract.sanitize import sanitize_text

MAX_SHOWN_BYTES = 256 * 1024  # how much of a body is shown; the download is complete
MAX_JSON_BYTES = 1024 * 1024  # larger bodies are not shown as a JSON tree
MAX_PARAMETERS = 200
HEX_BYTES = 256  # how much of a binary body is shown
FORM_TYPE = "application/x-www-form-urlencoded"


def parameters(query: str, headers: Sequence[tuple[str, str]], body: bytes) -> list[tuple[str, str]]:
    """Return the decoded parameters of the query string and of a form body. Empty if there are too many to show."""
    content_type = next((value for name, value in headers if name.lower() == "content-type"), "")
    form = body[:MAX_SHOWN_BYTES].decode("utf-8", "replace") if content_type.startswith(FORM_TYPE) else ""
    try:
        return [
            pair
            for text in (query, form)
            for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        ]
    except ValueError:  # the raw text is on the page as well
        return []


def body_context(body: bytes) -> dict[str, Any]:
    """Return template variables that show a body as JSON, as text, or as hexadecimal bytes, whichever fits."""
    context: dict[str, Any] = {"body_size": len(body), "body_cut": len(body) > MAX_SHOWN_BYTES}
    encoding = "utf-16" if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = body[:MAX_SHOWN_BYTES].decode(encoding, errors="strict" if len(body) <= MAX_SHOWN_BYTES else "ignore")
    except UnicodeDecodeError:
        return {**context, "body_binary": body[:HEX_BYTES].hex(" ")}
    context["body_text"] = sanitize_text(text)
    if body and len(body) <= MAX_JSON_BYTES:
        with suppress(ValueError, RecursionError):  # it is not JSON
            context["body_json"] = {"value": json.loads(strict_json.decode_text(body))}
    return context
