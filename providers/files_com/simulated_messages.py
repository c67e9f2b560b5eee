"""Build the simulated Files.com messages: query, form, JSON, XML, ExaVault's formats, multipart form, and file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from urllib.parse import quote
from xml.sax.saxutils import escape

from providers.sandbox.odd_bodies import encode_text
from providers.sandbox.tenant import BodyEncoding
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

Fields = Mapping[str, object]


def build_webhook_call(
    url: str,
    value: Fields,
    event: Fields,
    *,
    site: str,
    attempt: int,
    content: bytes,
    raw_plus: bool,
    file_metadata: str,
    header_encoding: str,
    body_encoding: BodyEncoding,
) -> WebhookCall:
    """Build the HTTP call for one event, in the format that the webhook's `value` selects.

    `content` is the file's content; `attempt` counts from 1. `raw_plus` leaves the + of a time unencoded in a query;
    `file_metadata` selects where the fields are sent if the body is the file, and `header_encoding` their encoding in
    headers. `body_encoding` is that of bodies without a file.
    """
    fields = {**event, **_map(value, "body")}
    headers = {"User-Agent": USER_AGENT, **_map(value, "headers")}
    has_file = event.get("type") == "file" and event.get("action") != "destroy"
    if has_file and value.get("file_as_body"):
        sent = headers | _metadata_headers(fields, file_metadata, header_encoding)
        return WebhookCall(
            "POST", _with_query(url, fields, raw_plus) if file_metadata == "query" else url, sent, content
        )
    if has_file and value.get("file_form_field"):
        return _multipart(url, headers, fields, content, str(value["file_form_field"]))
    if value.get("method") != "POST":
        return WebhookCall("GET", _with_query(url, fields, raw_plus), headers, b"")
    kind, text = _encoded(str(value.get("encoding") or "RAW"), fields, site, attempt)
    if body_encoding == "utf-16" and kind == "application/xml":
        text = text.replace("UTF-8", "UTF-16", 1)  # in the declaration
    body = encode_text(text, body_encoding)
    token = value.get("verification_token")
    if token and str(value.get("encoding")) in ("EV1", "EV2"):
        # Files.com's page on legacy formats: MD5 of the token followed by the body
        digest = hashlib.md5(str(token).encode() + body, usedforsecurity=False).hexdigest()
        headers["X-Exavault-Signature"] = digest
    return WebhookCall("POST", url, {**headers, "Content-Type": kind}, body)


def _encoded(encoding: str, fields: Fields, site: str, attempt: int) -> tuple[str, str]:
    match encoding:
        case "JSON":
            return "application/json", json.dumps(fields)
        case "XML":
            return "application/xml", _xml(fields)
        case "EV1" | "EV2":
            return "application/json", _exavault(fields, site, attempt, with_source=encoding == "EV2")
        case _:
            return "application/x-www-form-urlencoded", _pairs(fields)


def _exavault(fields: Fields, site: str, attempt: int, *, with_source: bool) -> str:
    """Encode the fields under ExaVault's names; the second version includes the source path."""
    moved = "destination" in fields
    action = str(fields.get("action"))
    message = {
        "accountname": site,
        "username": fields.get("username"),
        "operation": OPERATIONS.get(action, action),
        "protocol": fields.get("interface"),
        "path": f"/{fields.get('destination') or fields.get('path') or ''}",
    }
    if with_source:
        message["sourcepath"] = f"/{fields.get('path')}" if moved else ""
    return json.dumps({**message, "attempt": attempt}, separators=(",", ":"))


def _xml(fields: Fields) -> str:
    elements = "".join(f"  <{name}>{escape(str(text))}</{name}>\n" for name, text in fields.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<hash>\n{elements}</hash>\n'


def _multipart(url: str, headers: Mapping[str, str], fields: Fields, content: bytes, field: str) -> WebhookCall:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    name = _file_name(fields)
    opening = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    body = "".join([*parts, opening, f"Content-Type: {_content_type(name)}\r\n\r\n"]).encode(errors="replace")
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return WebhookCall(
        "POST", url, {**headers, "Content-Type": kind}, body + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


def _metadata_headers(fields: Fields, file_metadata: str, encoding: str) -> dict[str, str]:
    """Return the headers that describe the file. The HTTP client sends their characters as ISO-8859-1."""
    name = _file_name(fields)
    headers = {"Content-Type": _content_type(name)}
    if file_metadata == "disposition":
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    if file_metadata == "headers":
        texts = {f"X-Files-{field.title()}": str(value) for field, value in fields.items()}
        if encoding == "percent":
            return headers | {field: quote(text, safe="/:+ ") for field, text in texts.items()}
        return headers | {field: text.encode(encoding, "replace").decode("latin-1") for field, text in texts.items()}
    return headers


def _with_query(url: str, fields: Fields, raw_plus: bool) -> str:
    return f"{url}{'&' if '?' in url else '?'}{_pairs(fields, safe='+' if raw_plus else '')}"


def _pairs(fields: Fields, safe: str = "") -> str:
    pairs = ((name, str(text), safe if name == "at" else "") for name, text in fields.items())
    return "&".join(f"{quote(name, safe='')}={quote(text, safe=kept, errors='replace')}" for name, text, kept in pairs)


def _map(value: Fields, key: str) -> dict[str, str]:
    mapping = value.get(key)
    return {str(name): str(text) for name, text in mapping.items()} if isinstance(mapping, dict) else {}


def _file_name(fields: Fields) -> str:
    return str(fields.get("destination") or fields.get("path")).rpartition("/")[2]


def _content_type(name: str) -> str:
    return CONTENT_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
