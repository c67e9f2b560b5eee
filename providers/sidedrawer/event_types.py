"""The event types of SideDrawer: `<kind>.<modification>`.

SideDrawer documents neither the body of its notifications nor names for events. The types combine the ten kinds of the
thirteen resources with the three modifications of the API reference (`any` is only for subscribing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.contract.capabilities import Action, EventType

MODIFICATIONS = ("create", "update", "delete")
_CHANGES = (Action.CREATED, Action.UPDATED, Action.DELETED)
# A collaboration network lists people with their roles (contributor and role in SideDrawer's JavaScript SDK).
_PEOPLE = (Action.MEMBER_ADDED, Action.PERMISSION_CHANGED, Action.MEMBER_REMOVED)


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of resource that an event is about."""

    label: str
    resource_type: str
    actions: tuple[Action, Action, Action] = _CHANGES  # for create, update, delete


KINDS: Mapping[str, Kind] = {
    "sidedrawer": Kind("Drawer", "drawer"),
    "record": Kind("Folder", "folder"),
    "record-network": Kind("Collaborator of a folder", "network", _PEOPLE),
    "file": Kind("File", "file"),
    "inbox": Kind("Inbox", "inbox"),
    "sidedrawer-network": Kind("Collaborator of a drawer", "network", _PEOPLE),
    "plan-request": Kind("Plan", "plan"),
    "plan-item": Kind("Plan item", "item"),
    "network": Kind("Collaboration of a person", "network", _PEOPLE),
    "license": Kind("License", "license"),
}

EVENT_TYPES: tuple[EventType, ...] = tuple(
    EventType(f"{name}.{modification}", action, kind.label, f"{kind.label}: {modification}", kind.resource_type)
    for name, kind in KINDS.items()
    for modification, action in zip(MODIFICATIONS, kind.actions, strict=True)
)
