"""Files.com's messages: are they from them, and what happened.

Sources: BrickFTP's "Webhook API" page for the GET webhook, whose seven names the other forms are assumed to share;
ExaVault's API description for the messages that EV1 and EV2 imitate (accountname, username, operation, protocol, path,
sourcepath, attempt).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.event_fields import time_from_number
from providers.contract.parsing import InboundRequest, Parsed, ParsedEvent, Verification, VerificationResult
from providers.contract.signatures import HeaderMatch, find_shared_secrets
from providers.digests import json_digest
from providers.files_com.body_parser import Fields, file_name, read_fields
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.schemas import AUTH_HEADER

MAX_TYPE = 100
MAX_ACTOR = 255
MAX_RESOURCE = 2000
FILE = "file"  # the type of a message that is a file and does not say what happened

# What tells one message about a file from another. Two URLs of ours, and a repetition, get the same.
FILE_ACTIONS = frozenset({"create", "read", "update", "destroy", "move", "copy"})
IDENTITY = ("action", "interface", "path", "destination", "at", "username", "type")

_BY_NAME = {item.name: item for item in EVENT_TYPES}
_RESOURCE_TYPES = {"file": "file", "directory": "folder", "dir": "folder", "folder": "folder"}
_RESOURCE_OF = {"user": "user", "group": "group", "permission": "permission"}  # for actions that are not in our list
# ExaVault's operations, without case and blanks; the newer ones stand behind `resources.`.
_OPERATIONS = {
    "upload": Action.CREATED,
    "createfolder": Action.CREATED,
    "download": Action.READ,
    "delete": Action.DELETED,
    "rename": Action.RENAMED,
    "move": Action.MOVED,
    "copy": Action.COPIED,
}
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what a text column cannot hold


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, expect_header: bool) -> Verification:
    """Looks for the secret in the Authorization header, where we had Files.com put it.

    `proof_headers` names every header that carries a secret, also one in which it is not accepted. Where no header is
    expected (`expect_header` false), its absence proves nothing and refutes nothing; a wrong one still fails.
    """
    carrying = find_shared_secrets(request.headers, secrets)
    accepted = [match for match in carrying if match.header.lower() == AUTH_HEADER.lower()]
    proof = tuple(dict.fromkeys(match.header for match in carrying))
    if accepted:
        best = min(accepted, key=lambda match: match.secret_index)
        return Verification(
            VerificationResult.VERIFIED, f"The secret came in the header {best.header}.", best.secret_index, proof
        )
    present = any(name.lower() == AUTH_HEADER.lower() for name, _ in request.headers)
    if not expect_header and not present and not carrying:
        return Verification(
            VerificationResult.NOT_VERIFIABLE,
            "There is no Authorization header, and this account expects none (setting expect_header): nothing but the"
            " secret address speaks for this request.",
        )
    return Verification(VerificationResult.FAILED, _why(secrets, carrying, present), None, proof)


def _why(secrets: Sequence[str], carrying: Sequence[HeaderMatch], present: bool) -> str:
    if not any(secrets):
        return "No secret is known for this subscription."
    if carrying:
        return f"The secret came in the header {carrying[0].header}; it is accepted only in {AUTH_HEADER}."
    if present:
        return f"The header {AUTH_HEADER} carries another value, perhaps an older secret."
    return (
        f"The header {AUTH_HEADER} is missing. Set it at Files.com, or, where no header can be set, switch"
        " expect_header off in the account's settings."
    )


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """The event of a message. Without any parameter and without a body it is a ping.

    A body that is a file is always an event: of the action that query or headers tell, else of type `file`. Raises
    UnreadableRequest for a broken body, and for parameters among which there is no action.
    """
    fields, is_file = read_fields(request)
    if not fields and not is_file:
        return Parsed(ping=True)
    name = _action(fields) or (FILE if is_file else None)
    if name is None:
        raise UnreadableRequest("Nothing says what happened: there is no `action`.")
    if len(name) > MAX_TYPE:
        raise UnreadableRequest(f"`action` is longer than {MAX_TYPE} characters.")
    return Parsed((_event(request, name, fields, is_file),))


def _event(request: InboundRequest, name: str, fields: Fields, is_file: bool) -> ParsedEvent:
    known = _BY_NAME.get(name)
    path = _field(fields, "path", MAX_RESOURCE) or (_text(file_name(request), MAX_RESOURCE) if is_file else None)
    return ParsedEvent(
        type=name,
        action=known.action if known else _OPERATIONS.get(_operation(name), Action.OTHER),
        data=dict(fields),
        dedup_key=_dedup_key(request, name, fields, is_file),
        resource_type=(known.resource_type if known else None) or _resource_type(name, fields, is_file),
        # Where it ended up, as for a move; where it came from stands in the data.
        # ExaVault's forms begin it with a slash, the others do not.
        resource=(_field(fields, "destination", MAX_RESOURCE) or path or "").lstrip("/") or None,
        actor=_field(fields, "username", MAX_ACTOR),
        occurred_at=_time(_plain(fields.get("at"))),
    )


def _action(fields: Fields) -> str | None:
    """What happened, in Files.com's word or ExaVault's."""
    found = (_field(fields, key, MAX_TYPE + 1) for key in ("action", "operation", "event"))
    return next((word for word in found if word), None)


def _operation(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower().rpartition(".")[2])


def _resource_type(name: str, fields: Fields, is_file: bool) -> str | None:
    declared = _RESOURCE_TYPES.get((_field(fields, "type", 20) or "").lower())
    return declared or _RESOURCE_OF.get(name.partition("_")[0]) or (FILE if is_file else None)


def _dedup_key(request: InboundRequest, name: str, fields: Fields, is_file: bool) -> str:
    """A hash of what tells one event from another.

    For what happens to files that is known. Of users, groups and permissions nobody documented what is told, so all of
    it counts. Without a time nothing tells the repetition of a message from the repetition of what happened; a second
    event is the lesser evil, so each request then is one of its own.
    """
    at = _plain(fields.get("at"))
    moment = _time(at)
    told = {key: value for key, value in fields.items() if key != "attempt"}
    if at in (None, ""):
        body = hashlib.sha256(request.body).hexdigest() if is_file else ""
        return json_digest([told, body, request.received_at.isoformat()])
    if name in FILE_ACTIONS:
        told = {key: _plain(fields.get(key)) or "" for key in IDENTITY}
    return json_digest({**told, "at": moment.isoformat() if moment else at})


def _plain(value: object) -> object:
    """The first of several, and an XML element's text without its attributes."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value.get("#text") if isinstance(value, dict) else value


def _field(fields: Fields, name: str, limit: int) -> str | None:
    return _text(_plain(fields.get(name)), limit)


def _time(value: object) -> datetime | None:
    """ISO 8601, with `UTC` or nothing for the offset, too; or a Unix time."""
    if isinstance(value, str):
        text = value.strip()[:40]
        if not _NUMBER.fullmatch(text):
            return _iso_time(text.removesuffix(" UTC"))
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return time_from_number(value)


def _iso_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: object, limit: int) -> str | None:
    """A non-empty text that can be stored and shown; None for anything else."""
    if not isinstance(value, str):
        return None
    return _UNSTORABLE.sub("\ufffd", value.strip()[:limit]) or None
