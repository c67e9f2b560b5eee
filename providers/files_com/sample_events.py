"""What happens at a simulated Files.com site: people and machines that work with files and folders.

A little memory makes the stories hang together: what was created is read, changed, moved and deleted later.
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
FILES = ("budget.xlsx", "contract.pdf", "invoice.pdf", "logo.png", "order.xml", "orders.csv", "report v2.docx")
GROUPS = ("accounting", "auditors", "partners", "warehouse")
LEVELS = ("full", "readonly", "writeonly", "history", "bundle")
FILE_ACTIONS = ("create", "read", "update", "destroy", "move", "copy")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook looks: a folder (empty: the whole site), how deep, and a file name that it lets through."""

    folder: str
    recursive: bool
    file_name: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A file or a folder."""

    path: str
    kind: str  # file or directory


class World:
    """One site and its people. Not thread-safe: the simulator's lock guards it."""

    def __init__(self, site: str, chance: random.Random) -> None:
        self.site = site
        self._chance = chance
        self._items: deque[Item] = deque(maxlen=200)
        # Names must not come again after a restart: without an event id, equal messages are repetitions.
        self._serial = int(time.time()) % 1_000_000 * 10

    def event(self, event_type: str, place: Place) -> Event:
        """An event of that type at that place. Any type is accepted. `body` has the seven documented names, and what
        only some actions have."""
        facts: dict[str, object] = {"action": event_type, "interface": self._chance.choice(INTERFACES)}
        tale = self._about_files(event_type, place)
        if event_type.partition("_")[0] in ("user", "group", "permission"):
            tale = self._about_people(event_type.partition("_")[0])
        at = datetime.now(UTC).isoformat(timespec="seconds")
        facts |= {**tale, "at": at, "username": self._chance.choice(PEOPLE)}
        paths = tuple(str(tale[key]) for key in ("path", "destination") if "type" in tale and key in tale)
        return Event(id=str(uuid.uuid4()), type=event_type, body=facts, paths=paths)

    def content(self, body: Mapping[str, object]) -> bytes:
        """What stands in the file that an event is about."""
        return f"The content of {body.get('destination', body.get('path'))} at {self.site}.\n".encode() * 20

    def _about_files(self, event_type: str, place: Place) -> dict[str, object]:
        if event_type == "create":
            item = self._new(place)
        elif event_type in ("destroy", "move"):
            item = self._known(place)
            self._items.remove(item)
        else:
            item = self._known(place)
        facts: dict[str, object] = {"path": item.path, "type": item.kind}
        if event_type in ("move", "copy"):
            target = self._new(place, kind=item.kind)
            facts["destination"] = target.path
        return facts

    def _about_people(self, group: str) -> dict[str, object]:
        name = f"{self._chance.choice(GROUPS if group == 'group' else PEOPLE)}-{self._next()}"
        if group == "permission":
            return {"path": self._chance.choice(FOLDERS), "permission": self._chance.choice(LEVELS), "user": name}
        return {"name": name}

    def _new(self, place: Place, kind: str | None = None) -> Item:
        # A pattern for file names lets no folders through.
        kind = kind or ("directory" if place.file_name is None and self._chance.random() < 0.15 else "file")
        parts = [place.folder] if place.folder else []
        if place.recursive and self._chance.random() < 0.6:
            parts.append(self._chance.choice(FOLDERS))
        item = Item("/".join([*parts, self._name(place, kind)]), kind)
        self._items.append(item)
        return item

    def _name(self, place: Place, kind: str) -> str:
        if kind == "directory":
            return f"{self._chance.choice(FOLDERS)}-{self._next()}"
        if place.file_name is not None:
            return place.file_name.replace("*", str(self._next())).replace("?", self._chance.choice("abcxyz"))
        stem, _, ending = self._chance.choice(FILES).rpartition(".")
        return f"{stem} {self._next()}.{ending}"

    def _known(self, place: Place) -> Item:
        """Something that was there before, if there is any in this very place."""
        if place.file_name is not None:
            return self._new(place)
        inside = f"{place.folder}/" if place.folder else ""
        known = [
            item
            for item in self._items
            if item.path.startswith(inside) and (place.recursive or "/" not in item.path.removeprefix(inside))
        ]
        return self._chance.choice(known) if known else self._new(place)

    def _next(self) -> int:
        self._serial += 1
        return self._serial
