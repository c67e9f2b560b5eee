"""How the simulated Files.com words a message: query, form, JSON, XML, ExaVault's forms, multipart, the file itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

from providers.sandbox.webhook_sender import WebhookCall

USER_AGENT = "Files.com Webhook"
BOUNDARY = "----FilesComBoundary7MA4YWxkTrZu0gW"
OPERATIONS = {
    "create": "Upload",
    "read": "Download",
    "update": "Upload",
    "destroy": "Delete",
    "move": "Move",
    "copy": "Copy",
}
CONTENT_TYPES = {"pdf": "application/pdf", "xml": "application/xml", "csv": "text/csv", "png": "image/png"}

Facts = Mapping[str, object]


def build_webhook_call(
    url: str,
    value: Facts,
    facts: Facts,
    *,
    site: str,
    attempt: int,
    content: bytes,
    raw_plus: bool,
    file_metadata: str,
) -> WebhookCall:
    """The HTTP call for one event, as the webhook's `value` wants it.

    `content` is the file's; `attempt` counts from 1. `raw_plus` leaves the + of a time unencoded in a query;
    `file_metadata` says what comes beside a file as the body.
    """
    told = {**facts, **_map(value, "body")}
    headers = {"User-Agent": USER_AGENT, **_map(value, "headers")}
    has_file = facts.get("type") == "file" and facts.get("action") != "destroy"
    if has_file and value.get("file_as_body"):
        return _file(url, headers, told, content, raw_plus, file_metadata)
    if has_file and value.get("file_form_field"):
        return _multipart(url, headers, told, content, str(value["file_form_field"]))
    if value.get("method") != "POST":
        return WebhookCall("GET", _with_query(url, told, raw_plus), headers, b"")
    kind, body = _encoded(str(value.get("encoding") or "RAW"), told, site, attempt)
    token = value.get("verification_token")
    if token and str(value.get("encoding")) in ("EV1", "EV2"):
        # Files.com's page on legacy formats: MD5 of the token followed by the body. Weak, and theirs.
        digest = hashlib.md5(str(token).encode() + body, usedforsecurity=False).hexdigest()
        headers["X-Exavault-Signature"] = digest
    return WebhookCall("POST", url, {**headers, "Content-Type": kind}, body)


def _encoded(encoding: str, told: Facts, site: str, attempt: int) -> tuple[str, bytes]:
    match encoding:
        case "JSON":
            return "application/json", json.dumps(told).encode()
        case "XML":
            return "application/xml", _xml(told)
        case "EV1" | "EV2":
            return "application/json", _exavault(told, site, attempt, with_source=encoding == "EV2")
        case _:
            return "application/x-www-form-urlencoded", _pairs(told).encode()


def _exavault(told: Facts, site: str, attempt: int, *, with_source: bool) -> bytes:
    """ExaVault's names; the newer version also tells where something came from."""
    moved = "destination" in told
    action = str(told.get("action"))
    message = {
        "accountname": site,
        "username": told.get("username"),
        "operation": OPERATIONS.get(action, action),
        "protocol": told.get("interface"),
        "path": f"/{told.get('destination') or told.get('path') or ''}",
    }
    if with_source:
        message["sourcepath"] = f"/{told.get('path')}" if moved else ""
    return json.dumps({**message, "attempt": attempt}, separators=(",", ":")).encode()


def _xml(told: Facts) -> bytes:
    fields = "".join(f"  <{name}>{escape(str(text))}</{name}>\n" for name, text in told.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<hash>\n{fields}</hash>\n'.encode()


def _multipart(url: str, headers: Mapping[str, str], told: Facts, content: bytes, field: str) -> WebhookCall:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in told.items()
    ]
    name = _file_name(told)
    opening = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    body = "".join([*parts, opening, f"Content-Type: {_content_type(name)}\r\n\r\n"]).encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return WebhookCall(
        "POST", url, {**headers, "Content-Type": kind}, body + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


def _file(
    url: str, headers: Mapping[str, str], told: Facts, content: bytes, raw_plus: bool, file_metadata: str
) -> WebhookCall:
    sent = {**headers, "Content-Type": _content_type(_file_name(told))}
    if file_metadata == "headers":
        sent |= {f"X-Files-{name.title()}": quote(str(text), safe="/:+ ") for name, text in told.items()}
    if file_metadata == "query":
        url = _with_query(url, told, raw_plus)
    return WebhookCall("POST", url, sent, content)


def _with_query(url: str, told: Facts, raw_plus: bool) -> str:
    return f"{url}{'&' if '?' in url else '?'}{_pairs(told, safe='+' if raw_plus else '')}"


def _pairs(told: Facts, safe: str = "") -> str:
    return "&".join(
        f"{quote(name, safe='')}={quote(str(text), safe=safe if name == 'at' else '')}" for name, text in told.items()
    )


def _map(value: Facts, key: str) -> dict[str, str]:
    found = value.get(key)
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def _file_name(told: Facts) -> str:
    return str(told.get("destination") or told.get("path")).rpartition("/")[2]


def _content_type(name: str) -> str:
    return CONTENT_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
