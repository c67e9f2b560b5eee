"""Generate sample events of a simulated Egnyte domain.

The real `data` of each event type is not documented; the keys here follow the names of Egnyte's Events API. Items are
remembered, so that a file keeps its IDs when it is moved or deleted.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from providers.sandbox.tenant import Event

NAMES = (
    "Ann Lee", "Ben Okafor", "Carla Rossi", "Dmitri Sokolov", "Emma Larsen", "Farid Haddad", "Grace Kim", "Hugo Martin",
    "Ines Carvalho", "Jonas Weber", "Kavya Nair", "Liam Murphy",
)  # fmt: skip
ROOTS = ("/Shared/Finance", "/Shared/Legal", "/Shared/Marketing", "/Shared/Projects", "/Shared/Engineering")
FOLDERS = ("Archive", "Contracts", "Drafts", "Invoices", "Meeting notes", "Offers", "Photos", "Reports", "Templates")
FILES = (
    "Annual report.docx", "Budget.xlsx", "Contract.pdf", "Floor plan.dwg", "Invoice.pdf", "Kick-off.pptx", "Logo.png",
    "Minutes.docx", "Offer.docx", "Price list.xlsx", "Site photo.jpg", "Specification.pdf", "Timesheet.xlsx",
)  # fmt: skip
GROUPS = ("Accounting", "Board", "Contractors", "Design", "Legal", "Sales EMEA", "Site managers")
COMMENTS = (
    "Please have a look.",
    "Approved from my side.",
    "Page 3 is out of date.",
    "Thanks, merged.",
    "Who owns this?",
)
SOURCES = ("WebUI", "WebUI", "WebUI", "DesktopApp", "Mobile", "PublicAPI_v1", "WebEdit", "FTP")
LEVELS = ("None", "Viewer", "Editor", "Full", "Owner")
METADATA = (("invoice", "costCentre", "4711"), ("project", "phase", "design"), ("legal", "retention", "10 years"))
WORKFLOWS = ("Contract approval", "Invoice sign-off", "Drawing review")

Data = dict[str, object]


@dataclass(frozen=True, slots=True)
class Item:
    """A file or a folder."""

    path: str
    entry_id: str
    group_id: str
    is_folder: bool

    def as_target(self) -> Data:
        """Return the fields for the item that an event is about."""
        return {
            "targetPath": self.path,
            "targetId": self.entry_id,
            "targetGroupId": self.group_id,
            "isFolder": self.is_folder,
        }

    def as_source(self) -> Data:
        """Return the fields for the source of a copy or move."""
        return {"sourcePath": self.path, "sourceId": self.entry_id, "sourceGroupId": self.group_id}


class SampleDomain:
    """One domain and its people. Not thread-safe; the simulator's lock guards it."""

    def __init__(self, domain: str, generator: random.Random) -> None:
        self.domain = domain
        self._random = generator
        self._items: deque[Item] = deque(maxlen=200)
        self._number = 1000

    def event(self, event_type: str, roots: Sequence[str]) -> Event:
        """Return an event of any type, at or below one of `roots` if it has a path."""
        root = self._random.choice(tuple(roots) or ROOTS)
        data = self._data(event_type, "" if root == "/" else root)
        # Installations store what they received, so an ID must never repeat, not even after a restart.
        event_id = str(uuid.uuid4())
        body = {
            "eventId": event_id,
            "domain": self.domain,
            "timestamp": int(time.time() * 1000),
            "user": self._user(),
            "actionSource": self._random.choice(SOURCES),
            "eventType": event_type,
            "customProperties": self._custom_properties(),
            "data": data,
        }
        paths = tuple(str(data[key]) for key in ("targetPath", "sourcePath") if key in data)
        return Event(id=event_id, type=event_type, body=body, paths=paths)

    # -- People --------------------------------------------------------------------------------------------------

    def _person(self) -> Data:
        number = self._random.randrange(len(NAMES))
        first, last = NAMES[number].lower().split()
        return {
            "id": 40 + number,
            "displayName": NAMES[number],
            "username": first[0] + last,
            "email": f"{first}.{last}@{self.domain}.example",
        }

    def _user(self) -> Data:
        impersonated = self._random.random() < 0.05
        return {
            **self._person(),
            "clientIdHash": self._random.choice(("ab12f0c4", "7d03be91", "e55a1c2d")),
            "impersonatedBy": "admin" if impersonated else "",
        }

    def _custom_properties(self) -> dict[str, str]:
        if self._random.random() < 0.8:
            return {}
        return {
            "department": self._random.choice(("Finance", "Legal", "Sales")),
            "ticket": f"OPS-{self._next_number()}",
        }

    # -- Items ---------------------------------------------------------------------------------------------------

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _create(self, root: str, *, folder: bool, name: str | None = None) -> Item:
        parts = [root]
        if self._random.random() < 0.6:
            parts.append(self._random.choice(FOLDERS))
        if name is None and folder:
            name = f"{self._random.choice(FOLDERS)} {self._next_number()}"
        if name is None:
            stem, _, ending = self._random.choice(FILES).rpartition(".")
            name = f"{stem} {self._next_number()}.{ending}"
        item = Item("/".join([*parts, name]), str(uuid.uuid4()), str(uuid.uuid4()), folder)
        self._items.append(item)
        return item

    def _existing(self, root: str, *, folder: bool) -> Item:
        """Return an existing item below `root`, or a new one if there is none."""
        items = [item for item in self._items if item.is_folder == folder and item.path.startswith(root + "/")]
        return self._random.choice(items) if items else self._create(root, folder=folder)

    def _removed(self, root: str, *, folder: bool) -> Item:
        item = self._existing(root, folder=folder)
        self._items.remove(item)
        return item

    # -- Data by event type --------------------------------------------------------------------------------------

    def _data(self, event_type: str, root: str) -> Data:
        group, _, name = event_type.partition(":")
        builders: Mapping[str, Callable[[str, str], Data]] = {
            "fs": self._file_system,
            "link": self._link,
            "comment": self._comment,
            "meta": self._metadata,
            "workflow": self._workflow,
            "group": self._group,
            "permission": self._permission,
        }
        return builders.get(group, self._unknown)(name, root)

    def _file_system(self, name: str, root: str) -> Data:
        folder = name.endswith("_folder")
        match name:
            case "add_file" | "add_folder":
                return self._create(root, folder=folder).as_target()
            case "upload_link":
                return {**self._create(root, folder=False).as_target(), "linkId": self._link_id()}
            case "copy_file" | "copy_folder":
                source = self._existing(root, folder=folder)
                copy = self._create(root, folder=folder, name=f"Copy of {source.path.rpartition('/')[2]}")
                return {**copy.as_target(), **source.as_source()}
            case "move_file" | "move_folder":
                return self._move(root, folder=folder)
            case "delete_file" | "delete_folder" | "delete_from_trash":
                return self._removed(root, folder=folder).as_target()
            case "restore_from_trash":
                return self._create(root, folder=False).as_target()
            case "folder_project_activity":
                place = self._existing(root, folder=True)
                activity = self._random.choice(("project_created", "status_changed", "due_date_changed"))
                return {
                    **place.as_target(),
                    "folderId": place.entry_id,
                    "projectId": self._next_number(),
                    "activity": activity,
                }
        return self._existing(root, folder=False).as_target()  # lock_file, unlock_file and unknown types

    def _move(self, root: str, *, folder: bool) -> Data:
        source = self._removed(root, folder=folder)
        name = source.path.rpartition("/")[2]
        # A move keeps the IDs; the folder "Moved" makes sure that the path changes.
        target = Item(f"{root}/Moved/{self._next_number()}/{name}", source.entry_id, source.group_id, folder)
        self._items.append(target)
        return {**target.as_target(), **source.as_source()}

    def _link_id(self) -> str:
        return "".join(self._random.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=10))

    def _link(self, name: str, root: str) -> Data:
        upload = "upload" in name
        item = self._existing(root, folder=upload)
        link_id = self._link_id()
        data = {**item.as_target(), "linkId": link_id, "linkType": "upload" if upload else "file"}
        if name.startswith("delete"):
            return data
        return {
            **data,
            "linkUrl": f"https://{self.domain}.egnyte.example/dl/{link_id}",
            "accessibility": self._random.choice(("anyone", "password", "domain", "recipients")),
            "recipients": [self._person()["email"]],
        }

    def _comment(self, name: str, root: str) -> Data:
        data = {**self._existing(root, folder=False).as_target(), "noteId": str(uuid.uuid4())}
        return data if name == "remove_comment" else {**data, "message": self._random.choice(COMMENTS)}

    def _metadata(self, name: str, root: str) -> Data:
        namespace, key, value = self._random.choice(METADATA)
        data: Data = {**self._existing(root, folder=False).as_target(), "namespace": namespace, "key": key}
        return data if name == "delete_metadata_key" else {**data, "value": value}

    def _workflow(self, name: str, root: str) -> Data:
        data: Data = {
            **self._existing(root, folder=False).as_target(),
            "workflowId": self._next_number(),
            "workflowName": self._random.choice(WORKFLOWS),
        }
        if name.startswith("approvaltask"):
            return {
                **data,
                "taskId": self._next_number(),
                "assignee": self._person(),
                "comment": self._random.choice(COMMENTS),
            }
        return data

    def _group(self, name: str, root: str) -> Data:
        number = self._random.randrange(len(GROUPS))
        data: Data = {"groupId": f"group-{number + 1}", "groupName": GROUPS[number]}
        if name == "rename":
            return {**data, "oldName": f"{GROUPS[number]} (old)"}
        if name.endswith(("_members", "_owner")):
            return {**data, "members": [self._person() for _ in range(self._random.randint(1, 3))]}
        return data

    def _permission(self, name: str, root: str) -> Data:
        changes: list[Data] = []
        for _ in range(self._random.randint(1, 3)):
            before, after = self._random.sample(LEVELS, 2)
            changes.append(
                {"subject": self._person()["username"], "subjectType": "user", "permission": after, "previous": before}
            )
        return {**self._existing(root, folder=True).as_target(), "permissions": changes}

    def _unknown(self, name: str, root: str) -> Data:
        return {**self._existing(root, folder=False).as_target(), "what": name}
