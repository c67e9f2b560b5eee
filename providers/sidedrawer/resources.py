"""The resources that a SideDrawer webhook can be about, and what a resource path is about.

Source: the table "Resources" of SideDrawer's API reference, page "Webhooks". Its ticks (any, create, update, delete)
are not clear in every row; those rows carry a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DRAWER = "tenant/{tenantId}/sidedrawer/{sidedrawerId}"
_ONE_MISSING = "SideDrawer's table offers three of any, create, update and delete here and does not say clearly which"
_PLAN_OR_ITEM = "SideDrawer's table offers all four for an item here, but only two for the plan itself"
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table. `kind` is what its events are mostly about; `doubt` says what is unclear about it."""

    template: str
    kind: str
    label: str
    doubt: str = ""

    def pattern(self) -> str:
        """A regular expression for the template with ids filled in."""
        literals = _PLACEHOLDER.split(self.template)
        return "([^/]+)".join(re.escape(part) for part in literals)


RESOURCES: tuple[Resource, ...] = (
    Resource("tenant/{tenantId}/sidedrawer", "sidedrawer", "Drawers of a tenant"),
    Resource(f"{_DRAWER}/record", "record", "Folders of a drawer"),
    Resource(f"{_DRAWER}/record/{{recordId}}", "record", "One folder", _ONE_MISSING),
    Resource(f"{_DRAWER}/record/{{recordId}}/network", "record-network", "Collaboration networks of a folder"),
    Resource(f"{_DRAWER}/record/{{recordId}}/files", "file", "Files of a folder"),
    Resource(f"{_DRAWER}/inbox", "inbox", "Inboxes of a drawer"),
    Resource(f"{_DRAWER}/network", "sidedrawer-network", "Collaboration networks of a drawer"),
    Resource(f"{_DRAWER}/plan-request", "plan-request", "Plans of a drawer and their items"),
    Resource(f"{_DRAWER}/plan-request/{{planRequestId}}", "plan-request", "One plan or its items", _PLAN_OR_ITEM),
    Resource(f"{_DRAWER}/plan-request/{{planRequestId}}/item", "plan-item", "Items of a plan"),
    Resource(
        f"{_DRAWER}/plan-request/{{planRequestId}}/item/{{planItemId}}", "plan-item", "One item of a plan", _ONE_MISSING
    ),
    Resource("tenant/{tenantId}/network/{openId}", "network", "Collaboration networks of one person"),
    Resource("subscription/{subscriptionid}/license", "license", "Licenses of a subscription", _ONE_MISSING),
)

_PATTERNS = tuple((re.compile(resource.pattern()), resource) for resource in RESOURCES)
_LITERALS: Mapping[str, str] = {
    "sidedrawer": "sidedrawer",
    "record": "record",
    "files": "file",
    "inbox": "inbox",
    "plan-request": "plan-request",
    "item": "plan-item",
    "license": "license",
}
_NETWORKS: Mapping[str | None, str] = {"record": "record-network", "sidedrawer": "sidedrawer-network"}
_MAX_PARTS = 20


def resource_of(path: str) -> Resource | None:
    """The row whose template this path fills in; None when there is none."""
    return next((resource for pattern, resource in _PATTERNS if pattern.fullmatch(path)), None)


def kind_of(path: str) -> str | None:
    """What a path is about, also when it goes one id further than the templates do; None for an unknown path.

    Words and ids take turns in these paths, and the last known word tells the kind.
    """
    words = [word.lower() for word in path.strip("/").split("/")[:_MAX_PARTS:2]]
    if words[0] not in ("tenant", "subscription"):
        return None
    kind: str | None = None
    for word in words[1:]:
        if word == "network":
            kind = _NETWORKS.get(kind, "network")
        elif word in _LITERALS:
            kind = _LITERALS[word]
        else:
            break
    return kind
