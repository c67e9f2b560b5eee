"""Generate sample events of a simulated SideDrawer tenant.

The real body of a notification is not published. Its entities have the fields of SideDrawer's JavaScript SDK; the
envelope uses the field names of a webhook subscription.
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


class SampleTenant:
    """One tenant and its entities. Not thread-safe; the simulator's lock protects it."""

    def __init__(self, tenant_id: str, brand: str, generator: random.Random) -> None:
        self.tenant_id = tenant_id
        self.brand = brand
        self._random = generator
        self._entities: dict[str, deque[Data]] = {}  # by the path of their collection
        self._serial = 2026

    def event(self, kind: str, modification: str, path: str, *, is_collection: bool) -> Event:
        """Return a new event of an entity in the collection at `path`, or of the single entity at `path`.

        Any modification is accepted.
        """
        builders: Mapping[str, Callable[[], Data]] = {
            "sidedrawer": self._drawer,
            "record": self._record,
            "file": self._file,
            "inbox": self._inbox,
            "plan-request": self._plan,
            "plan-item": self._item,
            "license": self._license,
        }
        collection, entity_id = (path, None) if is_collection else _split(path)
        entity = self._entity(collection, entity_id, modification, builders.get(kind, self._collaborator))
        entity_path = f"{collection}/{entity['id']}"
        body: Data = {
            "resource": entity_path,
            "modificationType": modification,
            "modificationDateTime": _now(),  # with milliseconds, as JavaScript writes it
            "openId": self._open_id(self._random.choice(NAMES)),
            "brandCode": self.brand,
            "data": entity,
        }
        return Event(
            id=f"{entity['id']}-{modification}-{uuid.uuid4().hex[:8]}",
            type=f"{kind}.{modification}",
            body=body,
            paths=_with_parents(entity_path),
        )

    def new_id(self) -> str:
        """Return an ID in SideDrawer's format: 24 hexadecimal digits."""
        return f"{int(time.time()):08x}{self._random.getrandbits(64):016x}"

    # -- Entities ------------------------------------------------------------------------------------------------

    def _entity(self, collection: str, entity_id: str | None, modification: str, build: Callable[[], Data]) -> Data:
        """Return a new entity, or a remembered one with a new status; a deleted one is forgotten."""
        known = self._entities.setdefault(collection, deque(maxlen=30))
        old = next((item for item in known if item["id"] == entity_id), None) if entity_id else None
        if old is None and known and not entity_id and modification != "create":
            old = self._random.choice(known)
        if old is not None:
            known.remove(old)
        fields = build()
        entity = {"id": entity_id or self.new_id(), **fields} if old is None else {**old, "status": fields["status"]}
        entity["updatedAt"] = _now()
        if modification != "delete":
            known.append(entity)
        return entity

    def _next_number(self) -> int:
        self._serial += 1
        return self._serial

    def _open_id(self, name: str) -> str:
        return f"auth0|{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.{self.tenant_id}').hex[:24]}"

    def _person(self) -> Data:
        name = self._random.choice(NAMES)
        first, last = name.split()
        email = f"{first}.{last}@{self.brand}.example".lower()
        return {"openId": self._open_id(name), "firstName": first, "lastName": last, "email": email}

    def _drawer(self) -> Data:
        name = f"{self._random.choice(DRAWERS)} {self._next_number()}"
        kind = self._random.choice(("individual", "entity"))
        return {"name": name, "type": kind, "brandCode": self.brand, "active": True, "status": "active"}

    def _record(self) -> Data:
        record_type, subtype = self._random.choice(FOLDER_TYPES)
        return {
            "name": f"{self._random.choice(FOLDERS)} {self._next_number()}",
            "uniqueReference": f"REF-{self._next_number()}",
            "recordTypeName": record_type,
            "recordSubtypeName": subtype,
            "status": self._random.choice(("active", "in_review", "locked")),
        }

    def _file(self) -> Data:
        stem, _, ending = self._random.choice(FILES).rpartition(".")
        name = f"{stem} {self._next_number()}.{ending}"
        return {
            "fileName": name,
            "uploadTitle": stem,
            "fileType": "image" if ending == "jpg" else "document",
            "fileSize": self._random.randrange(20_000, 9_000_000),
            "uploader": self._open_id(self._random.choice(NAMES)),
            "correlationId": str(uuid.UUID(int=self._random.getrandbits(128))),
            "sealed": self._random.random() < 0.1,
            "status": self._random.choice(("uploaded", "scanned", "quarantined")),
        }

    def _inbox(self) -> Data:
        return {
            "name": f"Mail for {self._random.choice(DRAWERS)} {self._next_number()}",
            "sender": self._person(),
            "status": self._random.choice(("unread", "read", "filed")),
        }

    def _plan(self) -> Data:
        name = f"{self._random.choice(PLANS)} {self._next_number()}"
        return {"name": name, "requestedBy": self._person(), "status": self._random.choice(PLAN_STATUSES)}

    def _item(self) -> Data:
        kind = self._random.choice(("file", "form", "signature", "task"))
        name = f"{self._random.choice(ITEMS)} ({self._next_number()})"
        return {"name": name, "type": kind, "status": self._random.choice(PLAN_STATUSES)}

    def _license(self) -> Data:
        return {
            "licenseKey": f"LIC-{self._next_number()}",
            "assignedTo": self._person(),
            "status": self._random.choice(("available", "assigned", "suspended")),
        }

    def _collaborator(self) -> Data:
        return {
            "contributor": self._person(),
            "contributorType": self._random.choice(("account", "team")),
            "role": self._random.choice(ROLES),
            "status": self._random.choice(("invited", "accepted")),
        }


def _split(path: str) -> tuple[str, str]:
    collection, _, entity_id = path.rpartition("/")
    return collection, entity_id


def _with_parents(path: str) -> tuple[str, ...]:
    """Return the path and its parents, to match webhooks about any of them."""
    parts = path.split("/")
    return tuple("/".join(parts[:length]) for length in range(len(parts), 1, -1))


def _now() -> str:
    return iso_time(datetime.now(UTC))
