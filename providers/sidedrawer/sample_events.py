"""What happens at a simulated SideDrawer tenant: people who share folders, files, plans and licenses in drawers.

The real body of a notification is not published. The things in it carry the fields of SideDrawer's JavaScript SDK; the
envelope around them is made up of the words that a webhook subscription uses.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from providers.sandbox.tenant import Event
from providers.times import iso_time

NAMES = (
    "Ann Lee", "Ben Okafor", "Carla Rossi", "Dmitri Sokolov", "Emma Larsen", "Farid Haddad", "Grace Kim", "Hugo Martin",
    "Ines Carvalho", "Jonas Weber",
)  # fmt: skip
DRAWERS = ("Haddad family", "Okafor & Daughters", "Lee estate", "Rossi household", "Weber trust", "Kim ventures")
FOLDERS = ("Taxes", "Will and estate", "Home insurance", "Passports", "Mortgage", "Investments", "Medical", "Vehicles")
FOLDER_TYPES = (("finance", "taxes"), ("legal", "will"), ("insurance", "home"), ("personal", "identity"))
FILES = (
    "Tax return.pdf", "Notice of assessment.pdf", "Deed.pdf", "Policy.pdf", "Passport scan.jpg", "Statement.xlsx",
    "Power of attorney.docx", "Invoice.pdf",
)  # fmt: skip
PLANS = ("Client onboarding", "Annual review", "Estate plan", "Mortgage application")
ITEMS = ("Upload your tax return", "Sign the mandate", "Confirm your address", "Fill in the risk questionnaire")
ROLES = ("view", "edit", "admin", "owner")
PLAN_STATUSES = ("draft", "requested", "in_progress", "completed")

Data = dict[str, object]


class World:
    """One tenant and its people. Not thread-safe: the simulator's lock guards it."""

    def __init__(self, tenant_id: str, brand: str, chance: random.Random) -> None:
        self.tenant_id = tenant_id
        self.brand = brand
        self._chance = chance
        self._things: dict[str, deque[Data]] = {}  # by the path of their collection
        self._serial = 2026

    def event(self, kind: str, modification: str, place: str, *, is_collection: bool) -> Event:
        """Something that happens to a thing in the collection at `place`, or to the one thing at `place`.
        Any modification is accepted."""
        tellers: Mapping[str, Callable[[], Data]] = {
            "sidedrawer": self._drawer,
            "record": self._record,
            "file": self._file,
            "inbox": self._inbox,
            "plan-request": self._plan,
            "plan-item": self._item,
            "license": self._license,
        }
        collection, thing_id = (place, None) if is_collection else _cut(place)
        thing = self._thing(collection, thing_id, modification, tellers.get(kind, self._collaborator))
        path = f"{collection}/{thing['id']}"
        body: Data = {
            "resource": path,
            "modificationType": modification,
            # With milliseconds, as JavaScript writes it
            "modificationDateTime": _now(),
            "openId": self._open_id(self._chance.choice(NAMES)),
            "brandCode": self.brand,
            "data": thing,
        }
        return Event(
            id=f"{thing['id']}-{modification}-{uuid.uuid4().hex[:8]}",
            type=f"{kind}.{modification}",
            body=body,
            paths=_places(path),
        )

    def new_id(self) -> str:
        """An id in the style of the ones that SideDrawer uses: 24 hexadecimal digits."""
        return f"{int(time.time()):08x}{self._chance.getrandbits(64):016x}"

    # -- Things --------------------------------------------------------------------------------------------------

    def _thing(self, collection: str, thing_id: str | None, modification: str, tell: Callable[[], Data]) -> Data:
        """A new thing, or one that is known there with something about it changed; a deleted one is forgotten."""
        known = self._things.setdefault(collection, deque(maxlen=30))
        old = next((item for item in known if item["id"] == thing_id), None) if thing_id else None
        if old is None and known and not thing_id and modification != "create":
            old = self._chance.choice(known)
        if old is not None:
            known.remove(old)
        told = tell()
        thing = {"id": thing_id or self.new_id(), **told} if old is None else {**old, "status": told["status"]}
        thing["updatedAt"] = _now()
        if modification != "delete":
            known.append(thing)
        return thing

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _open_id(self, name: str) -> str:
        return f"auth0|{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.{self.tenant_id}').hex[:24]}"

    def _person(self) -> Data:
        name = self._chance.choice(NAMES)
        first, last = name.split()
        email = f"{first}.{last}@{self.brand}.example".lower()
        return {"openId": self._open_id(name), "firstName": first, "lastName": last, "email": email}

    def _drawer(self) -> Data:
        name = f"{self._chance.choice(DRAWERS)} {self._next()}"
        kind = self._chance.choice(("individual", "entity"))
        return {"name": name, "type": kind, "brandCode": self.brand, "active": True, "status": "active"}

    def _record(self) -> Data:
        record_type, subtype = self._chance.choice(FOLDER_TYPES)
        return {
            "name": f"{self._chance.choice(FOLDERS)} {self._next()}",
            "uniqueReference": f"REF-{self._next()}",
            "recordTypeName": record_type,
            "recordSubtypeName": subtype,
            "status": self._chance.choice(("active", "in_review", "locked")),
        }

    def _file(self) -> Data:
        stem, _, ending = self._chance.choice(FILES).rpartition(".")
        name = f"{stem} {self._next()}.{ending}"
        return {
            "fileName": name,
            "uploadTitle": stem,
            "fileType": "image" if ending == "jpg" else "document",
            "fileSize": self._chance.randrange(20_000, 9_000_000),
            "uploader": self._open_id(self._chance.choice(NAMES)),
            "correlationId": str(uuid.UUID(int=self._chance.getrandbits(128))),
            "sealed": self._chance.random() < 0.1,
            "status": self._chance.choice(("uploaded", "scanned", "quarantined")),
        }

    def _inbox(self) -> Data:
        return {
            "name": f"Mail for {self._chance.choice(DRAWERS)} {self._next()}",
            "sender": self._person(),
            "status": self._chance.choice(("unread", "read", "filed")),
        }

    def _plan(self) -> Data:
        name = f"{self._chance.choice(PLANS)} {self._next()}"
        return {"name": name, "requestedBy": self._person(), "status": self._chance.choice(PLAN_STATUSES)}

    def _item(self) -> Data:
        kind = self._chance.choice(("file", "form", "signature", "task"))
        name = f"{self._chance.choice(ITEMS)} ({self._next()})"
        return {"name": name, "type": kind, "status": self._chance.choice(PLAN_STATUSES)}

    def _license(self) -> Data:
        return {
            "licenseKey": f"LIC-{self._next()}",
            "assignedTo": self._person(),
            "status": self._chance.choice(("available", "assigned", "suspended")),
        }

    def _collaborator(self) -> Data:
        return {
            "contributor": self._person(),
            "contributorType": self._chance.choice(("account", "team")),
            "role": self._chance.choice(ROLES),
            "status": self._chance.choice(("invited", "accepted")),
        }


def _cut(place: str) -> tuple[str, str]:
    collection, _, thing_id = place.rpartition("/")
    return collection, thing_id


def _places(path: str) -> tuple[str, ...]:
    """The path and everything above it, so that a webhook about any of them can be found."""
    parts = path.split("/")
    return tuple("/".join(parts[:length]) for length in range(len(parts), 1, -1))


def _now() -> str:
    return iso_time(datetime.now(UTC))
