"""Verify and parse Files.com's messages.

Sources: BrickFTP's "Webhook API" page for the GET webhook, whose seven field names the other formats are assumed to
share; ExaVault's API description for the EV1 and EV2 formats (accountname, username, operation, protocol, path,
sourcepath, attempt).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.event_fields import (
    MAX_ACTOR,
    MAX_RESOURCE,
    MAX_TYPE,
    clean_text,
    parse_time,
)
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    Verification,
    VerificationResult,
)
from providers.contract.signatures import HeaderMatch, find_shared_secrets, other_value
from providers.digests import json_digest
from providers.files_com.body_parser import Fields, file_name, read_fields, read_query
from providers.files_com.event_types import EVENT_TYPES, FILE_ACTIONS
from providers.files_com.schemas import AUTH_HEADER

FILE = "file"  # the event type of a file without a known action

# The fields that identify a file event. They are equal in retransmissions and in messages to several of our URLs.
IDENTITY_FIELDS = ("action", "interface", "path", "destination", "at", "username", "type")

_BY_NAME = {item.name: item for item in EVENT_TYPES}
_RESOURCE_TYPES = {"file": "file", "directory": "folder", "dir": "folder", "folder": "folder"}
_RESOURCE_OF = {"user": "user", "group": "group", "permission": "permission"}  # for undeclared actions
# ExaVault's operations in lower case without spaces; newer ones are prefixed with `resources.`.
_OPERATIONS = {
    "upload": Action.CREATED,
    "createfolder": Action.CREATED,
    "download": Action.READ,
    "delete": Action.DELETED,
    "rename": Action.RENAMED,
    "move": Action.MOVED,
    "copy": Action.COPIED,
}


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, expect_header: bool) -> Verification:
    """Compare the secrets with the Authorization header, which was set when the webhook was registered.

    `proof_headers` names every header that contains a secret, even one in which it is not accepted. Without the header
    the result is not verifiable if none is expected (`expect_header` false); a wrong header always fails.
    """
    carrying = find_shared_secrets(request.headers, secrets)
    accepted = [match for match in carrying if match.header.lower() == AUTH_HEADER.lower()]
    proof = tuple(dict.fromkeys(match.header for match in carrying))
    if accepted:
        best = min(accepted, key=lambda match: match.secret_index)
        return Verification(
            VerificationResult.VERIFIED, f"The header {best.header} contains the secret.", best.secret_index, proof
        )
    present = any(name.lower() == AUTH_HEADER.lower() for name, _ in request.headers)
    if not expect_header and not present and not carrying:
        return Verification(
            VerificationResult.NOT_VERIFIABLE,
            "There is no Authorization header, and this account does not expect one (setting expect_header): only the"
            " secret URL protects this request.",
        )
    return Verification(VerificationResult.FAILED, _failure_detail(request, secrets, carrying, present), None, proof)


def _failure_detail(
    request: InboundRequest, secrets: Sequence[str], carrying: Sequence[HeaderMatch], present: bool
) -> str:
    if not any(secrets):
        return "This subscription has no secret."
    if carrying:
        return f"The header {carrying[0].header} contains the secret, which is accepted only in {AUTH_HEADER}."
    if present:
        return f"The header {AUTH_HEADER} contains {other_value(request.headers, AUTH_HEADER)}."
    return (
        f"The header {AUTH_HEADER} is missing. Set it at Files.com or, if no header can be set, disable expect_header"
        " in the account's settings."
    )


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """Return the event of a message. A message without parameters and without a body is a ping.

    A file in the body is always an event: of the action in the query or the headers, else of the type `file`. Raises
    UnreadableRequest for a malformed body and for parameters without an action.
    """
    fields, is_file = read_fields(request)
    if not fields and not is_file:
        return Parsed(ping=True)
    name = _action(fields) or (FILE if is_file else None)
    if name is None:
        raise UnreadableRequest("The message has no `action`.")
    if len(name) > MAX_TYPE:
        raise UnreadableRequest(f"`action` is longer than {MAX_TYPE} characters.")
    return Parsed((_event(request, name, fields, is_file),))


def _event(request: InboundRequest, name: str, fields: Fields, is_file: bool) -> ParsedEvent:
    declared = _BY_NAME.get(name)
    path = _field(fields, "path", MAX_RESOURCE) or (
        clean_text(file_name(request), limit=MAX_RESOURCE) if is_file else None
    )
    # Of a move or a copy, `path` is the source and `destination` the target. ExaVault's `path` is the target.
    destination = _field(fields, "destination", MAX_RESOURCE)
    previous = _place(path if destination else _field(fields, "sourcepath", MAX_RESOURCE))
    return ParsedEvent(
        type=name,
        action=declared.action if declared else _OPERATIONS.get(_operation(name), Action.OTHER),
        data=dict(fields),
        dedup_key=_dedup_key(request, name, fields, is_file),
        resource_type=(declared.resource_type if declared else None) or _resource_type(name, fields, is_file),
        resource=(resource := _place(destination or path)),
        previous_resource=None if previous == resource else previous,
        actor=_field(fields, "username", MAX_ACTOR),
        occurred_at=parse_time(_plain(fields.get("at"))),
    )


def _place(path: str | None) -> str | None:
    """Return a path without the leading slash, which only ExaVault's formats have."""
    return (path or "").lstrip("/") or None


def _action(fields: Fields) -> str | None:
    """Return the name of the action, in Files.com's or ExaVault's terms."""
    names = (_field(fields, key, MAX_TYPE + 1) for key in ("action", "operation", "event"))
    return next((name for name in names if name), None)


def _operation(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower().rpartition(".")[2])


def _resource_type(name: str, fields: Fields, is_file: bool) -> str | None:
    declared = _RESOURCE_TYPES.get((_field(fields, "type", 20) or "").lower())
    return declared or _RESOURCE_OF.get(name.partition("_")[0]) or (FILE if is_file else None)


def _dedup_key(request: InboundRequest, name: str, fields: Fields, is_file: bool) -> str:
    """Return a hash of the fields that identify an event, and of the body if it is a file.

    The fields of file events are documented, but a body may have more. Of events of users, groups and permissions they
    are not documented, so all fields count. Without a time, or for a file without a path (the web server drops header
    values that are not ASCII), a repeated message cannot be distinguished from a repeated event. Then each request is
    an event of its own: a second event does less harm than a lost one.
    """
    at = _plain(fields.get("at"))
    moment = parse_time(at)
    identity = {key: value for key, value in fields.items() if key != "attempt"}
    body = hashlib.sha256(request.body).hexdigest() if is_file else ""
    if at in (None, "") or (is_file and not _field(fields, "path", MAX_RESOURCE)):
        return json_digest([identity, body, request.received_at.isoformat()])
    if name in FILE_ACTIONS:
        more = {} if is_file or not request.body.strip() else _only_in_body(request, identity)
        identity = {**more, **{key: _plain(fields.get(key)) or "" for key in IDENTITY_FIELDS}}
    if body:
        identity["body"] = body
    return json_digest({**identity, "at": moment.isoformat() if moment else at})


def _only_in_body(request: InboundRequest, fields: Fields) -> Fields:
    """Return the fields without those of the query, which differs between our URLs."""
    query = read_query(request.query)
    return {key: value for key, value in fields.items() if key not in query}


def _plain(value: object) -> object:
    """Return the first of several values, and the text of an XML element without its attributes."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value.get("#text") if isinstance(value, dict) else value


def _field(fields: Fields, name: str, limit: int) -> str | None:
    return clean_text(_plain(fields.get(name)), limit=limit)
