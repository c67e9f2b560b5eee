"""What happens at a simulated Egnyte domain: people who work with files, folders, links, groups and permissions.

The real `data` of each event type is not documented publicly; the keys here follow the names of Egnyte's Events API.
A little memory makes the stories hang together: a file that was added keeps its ids when it is moved or deleted.
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
        """The keys that tell which item an event is about."""
        return {
            "targetPath": self.path,
            "targetId": self.entry_id,
            "targetGroupId": self.group_id,
            "isFolder": self.is_folder,
        }

    def as_source(self) -> Data:
        """The keys that tell where it came from."""
        return {"sourcePath": self.path, "sourceId": self.entry_id, "sourceGroupId": self.group_id}


class World:
    """One domain and its people. Not thread-safe: the simulator's lock guards it."""

    def __init__(self, domain: str, chance: random.Random) -> None:
        self.domain = domain
        self._chance = chance
        self._items: deque[Item] = deque(maxlen=200)
        self._serial = 1000

    def event(self, event_type: str, roots: Sequence[str]) -> Event:
        """An event of that type, at or below one of `roots` where it has a place. Any type is accepted."""
        root = self._chance.choice(tuple(roots) or ROOTS)
        data = self._data(event_type, "" if root == "/" else root)
        # Installations keep what they received, so an id must never come again, not even after a restart.
        event_id = str(uuid.uuid4())
        body = {
            "eventId": event_id,
            "domain": self.domain,
            "timestamp": int(time.time() * 1000),
            "user": self._user(),
            "actionSource": self._chance.choice(SOURCES),
            "eventType": event_type,
            "customProperties": self._custom_properties(),
            "data": data,
        }
        places = tuple(str(data[key]) for key in ("targetPath", "sourcePath") if key in data)
        return Event(id=event_id, type=event_type, body=body, paths=places)

    # -- People --------------------------------------------------------------------------------------------------

    def _person(self) -> Data:
        number = self._chance.randrange(len(NAMES))
        first, last = NAMES[number].lower().split()
        return {
            "id": 40 + number,
            "displayName": NAMES[number],
            "username": first[0] + last,
            "email": f"{first}.{last}@{self.domain}.example",
        }

    def _user(self) -> Data:
        impersonated = self._chance.random() < 0.05
        return {
            **self._person(),
            "clientIdHash": self._chance.choice(("ab12f0c4", "7d03be91", "e55a1c2d")),
            "impersonatedBy": "admin" if impersonated else "",
        }

    def _custom_properties(self) -> dict[str, str]:
        if self._chance.random() < 0.8:
            return {}
        return {"department": self._chance.choice(("Finance", "Legal", "Sales")), "ticket": f"OPS-{self._next()}"}

    # -- Places --------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _new(self, root: str, *, folder: bool, name: str | None = None) -> Item:
        parts = [root]
        if self._chance.random() < 0.6:
            parts.append(self._chance.choice(FOLDERS))
        if name is None and folder:
            name = f"{self._chance.choice(FOLDERS)} {self._next()}"
        if name is None:
            stem, _, ending = self._chance.choice(FILES).rpartition(".")
            name = f"{stem} {self._next()}.{ending}"
        item = Item("/".join([*parts, name]), str(uuid.uuid4()), str(uuid.uuid4()), folder)
        self._items.append(item)
        return item

    def _known(self, root: str, *, folder: bool) -> Item:
        """An item that was seen before, if there is one below `root`."""
        known = [item for item in self._items if item.is_folder == folder and item.path.startswith(root + "/")]
        return self._chance.choice(known) if known else self._new(root, folder=folder)

    def _gone(self, root: str, *, folder: bool) -> Item:
        item = self._known(root, folder=folder)
        self._items.remove(item)
        return item

    # -- What happens --------------------------------------------------------------------------------------------

    def _data(self, event_type: str, root: str) -> Data:
        group, _, what = event_type.partition(":")
        tellers: Mapping[str, Callable[[str, str], Data]] = {
            "fs": self._file_system,
            "link": self._link,
            "comment": self._comment,
            "meta": self._metadata,
            "workflow": self._workflow,
            "group": self._group,
            "permission": self._permission,
        }
        return tellers.get(group, self._anything)(what, root)

    def _file_system(self, what: str, root: str) -> Data:
        folder = what.endswith("_folder")
        match what:
            case "add_file" | "add_folder":
                return self._new(root, folder=folder).as_target()
            case "upload_link":
                return {**self._new(root, folder=False).as_target(), "linkId": self._link_id()}
            case "copy_file" | "copy_folder":
                source = self._known(root, folder=folder)
                copy = self._new(root, folder=folder, name=f"Copy of {source.path.rpartition('/')[2]}")
                return {**copy.as_target(), **source.as_source()}
            case "move_file" | "move_folder":
                return self._moved(root, folder=folder)
            case "delete_file" | "delete_folder" | "delete_from_trash":
                return self._gone(root, folder=folder).as_target()
            case "restore_from_trash":
                return self._new(root, folder=False).as_target()
            case "folder_project_activity":
                place = self._known(root, folder=True)
                activity = self._chance.choice(("project_created", "status_changed", "due_date_changed"))
                return {
                    **place.as_target(),
                    "folderId": place.entry_id,
                    "projectId": self._next(),
                    "activity": activity,
                }
        return self._known(root, folder=False).as_target()  # lock_file, unlock_file and types still unknown

    def _moved(self, root: str, *, folder: bool) -> Data:
        source = self._gone(root, folder=folder)
        name = source.path.rpartition("/")[2]
        # Moving keeps the ids; "Moved" makes sure that the place is another one.
        target = Item(f"{root}/Moved/{self._next()}/{name}", source.entry_id, source.group_id, folder)
        self._items.append(target)
        return {**target.as_target(), **source.as_source()}

    def _link_id(self) -> str:
        return "".join(self._chance.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=10))

    def _link(self, what: str, root: str) -> Data:
        upload = "upload" in what
        item = self._known(root, folder=upload)
        link_id = self._link_id()
        data = {**item.as_target(), "linkId": link_id, "linkType": "upload" if upload else "file"}
        if what.startswith("delete"):
            return data
        return {
            **data,
            "linkUrl": f"https://{self.domain}.egnyte.example/dl/{link_id}",
            "accessibility": self._chance.choice(("anyone", "password", "domain", "recipients")),
            "recipients": [self._person()["email"]],
        }

    def _comment(self, what: str, root: str) -> Data:
        data = {**self._known(root, folder=False).as_target(), "noteId": str(uuid.uuid4())}
        return data if what == "remove_comment" else {**data, "message": self._chance.choice(COMMENTS)}

    def _metadata(self, what: str, root: str) -> Data:
        namespace, key, value = self._chance.choice(METADATA)
        data: Data = {**self._known(root, folder=False).as_target(), "namespace": namespace, "key": key}
        return data if what == "delete_metadata_key" else {**data, "value": value}

    def _workflow(self, what: str, root: str) -> Data:
        data: Data = {
            **self._known(root, folder=False).as_target(),
            "workflowId": self._next(),
            "workflowName": self._chance.choice(WORKFLOWS),
        }
        if what.startswith("approvaltask"):
            return {
                **data,
                "taskId": self._next(),
                "assignee": self._person(),
                "comment": self._chance.choice(COMMENTS),
            }
        return data

    def _group(self, what: str, root: str) -> Data:
        number = self._chance.randrange(len(GROUPS))
        data: Data = {"groupId": f"group-{number + 1}", "groupName": GROUPS[number]}
        if what == "rename":
            return {**data, "oldName": f"{GROUPS[number]} (old)"}
        if what.endswith(("_members", "_owner")):
            return {**data, "members": [self._person() for _ in range(self._chance.randint(1, 3))]}
        return data

    def _permission(self, what: str, root: str) -> Data:
        changes: list[Data] = []
        for _ in range(self._chance.randint(1, 3)):
            before, after = self._chance.sample(LEVELS, 2)
            changes.append(
                {"subject": self._person()["username"], "subjectType": "user", "permission": after, "previous": before}
            )
        return {**self._known(root, folder=True).as_target(), "permissions": changes}

    def _anything(self, what: str, root: str) -> Data:
        return {**self._known(root, folder=False).as_target(), "what": what}
