"""Generate sample events of a simulated Files.com site.

Files and folders are remembered, so that later events read, change, move and delete those that were created.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.sandbox.tenant import Event

PEOPLE = ("ann", "ben.okafor", "carla", "dmitri", "emma.larsen", "farid", "grace", "hugo", "sftp-robot", "api-import")
INTERFACES = (
    "web", "web", "ftp", "sftp", "dav", "restapi", "jsapi", "robot", "desktop", "webdesktopapi", "scim", "office",
    "mobile", "as2", "inbound_email", "remote",
)  # fmt: skip
FOLDERS = ("archive", "clients", "contracts", "inbox", "invoices", "reports", "timecards", "video")
FILES = (
    "budget.xlsx",
    "contract.pdf",
    "invoice.pdf",
    "logo.png",
    "Menü.pdf",
    "order.xml",
    "orders.csv",
    "report v2.docx",
)
GROUPS = ("accounting", "auditors", "partners", "warehouse")
LEVELS = ("full", "readonly", "writeonly", "history", "bundle")
FILE_ACTIONS = ("create", "read", "update", "destroy", "move", "copy")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a webhook covers: a folder (empty: the whole site), whether with subfolders, and a file name pattern."""

    folder: str
    recursive: bool
    file_name: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A file or a folder."""

    path: str
    kind: str  # file or directory


class SampleSite:
    """One site with its files. Not thread-safe; the simulator's lock protects it."""

    def __init__(self, site: str, generator: random.Random) -> None:
        self.site = site
        self._random = generator
        self._items: deque[Item] = deque(maxlen=200)
        # Names must not repeat after a restart: without event IDs, equal messages are duplicates.
        self._serial = int(time.time()) % 1_000_000 * 10

    def event(self, event_type: str, scope: Scope) -> Event:
        """Return a new event of any type in a scope, with the documented fields and those of its action."""
        body: dict[str, object] = {"action": event_type, "interface": self._random.choice(INTERFACES)}
        subject = self._file_fields(event_type, scope)
        if event_type.partition("_")[0] in ("user", "group", "permission"):
            subject = self._account_fields(event_type.partition("_")[0])
        at = datetime.now(UTC).isoformat(timespec="seconds")
        body |= {**subject, "at": at, "username": self._random.choice(PEOPLE)}
        paths = tuple(str(subject[key]) for key in ("path", "destination") if "type" in subject and key in subject)
        return Event(id=str(uuid.uuid4()), type=event_type, body=body, paths=paths)

    def content(self, body: Mapping[str, object]) -> bytes:
        """Return the content of the file that an event is about."""
        return f"The content of {body.get('destination', body.get('path'))} at {self.site}.\n".encode() * 20

    def _file_fields(self, event_type: str, scope: Scope) -> dict[str, object]:
        if event_type == "create":
            item = self._new(scope)
        elif event_type in ("destroy", "move"):
            item = self._known(scope)
            self._items.remove(item)
        else:
            item = self._known(scope)
        body: dict[str, object] = {"path": item.path, "type": item.kind}
        if event_type in ("move", "copy"):
            target = self._new(scope, kind=item.kind)
            body["destination"] = target.path
        return body

    def _account_fields(self, group: str) -> dict[str, object]:
        name = f"{self._random.choice(GROUPS if group == 'group' else PEOPLE)}-{self._next_number()}"
        if group == "permission":
            return {"path": self._random.choice(FOLDERS), "permission": self._random.choice(LEVELS), "user": name}
        return {"name": name}

    def _new(self, scope: Scope, kind: str | None = None) -> Item:
        # A file name pattern matches no folders.
        kind = kind or ("directory" if scope.file_name is None and self._random.random() < 0.15 else "file")
        parts = [scope.folder] if scope.folder else []
        if scope.recursive and self._random.random() < 0.6:
            parts.append(self._random.choice(FOLDERS))
        item = Item("/".join([*parts, self._name(scope, kind)]), kind)
        self._items.append(item)
        return item

    def _name(self, scope: Scope, kind: str) -> str:
        if kind == "directory":
            return f"{self._random.choice(FOLDERS)}-{self._next_number()}"
        if scope.file_name is not None:
            return scope.file_name.replace("*", str(self._next_number())).replace("?", self._random.choice("abcxyz"))
        stem, _, ending = self._random.choice(FILES).rpartition(".")
        return f"{stem} {self._next_number()}.{ending}"

    def _known(self, scope: Scope) -> Item:
        """Return a remembered item in the scope, or a new one if there is none."""
        if scope.file_name is not None:
            return self._new(scope)
        inside = f"{scope.folder}/" if scope.folder else ""
        known = [
            item
            for item in self._items
            if item.path.startswith(inside) and (scope.recursive or "/" not in item.path.removeprefix(inside))
        ]
        return self._random.choice(known) if known else self._new(scope)

    def _next_number(self) -> int:
        self._serial += 1
        return self._serial
