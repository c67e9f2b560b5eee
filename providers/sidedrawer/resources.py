"""The resources that a SideDrawer webhook can watch, and the kind of a resource path.

Source: the table "Resources" of SideDrawer's API reference, page "Webhooks". Its modifications (any, create, update,
delete) are not clear in every row; those rows have a `doubt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DRAWER = "tenant/{tenantId}/sidedrawer/{sidedrawerId}"
_ONE_MISSING = "SideDrawer's table allows three of any, create, update and delete here, but not clearly which"
_PLAN_OR_ITEM = "SideDrawer's table allows all four modifications for an item, but only two for the plan itself"
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table. `kind` is the main kind of its events; `doubt` says what is unclear about it."""

    template: str
    kind: str
    label: str
    doubt: str = ""

    def pattern(self) -> str:
        """Return a regular expression that matches the template with IDs filled in."""
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
_KIND_OF_LITERAL: Mapping[str, str] = {
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
    """Return the resource whose template matches a path, or None."""
    return next((resource for pattern, resource in _PATTERNS if pattern.fullmatch(path)), None)


def kind_of(path: str) -> str | None:
    """Return the kind of a path, which may have one ID more than its template; None for an unknown path.

    Literals and IDs alternate in these paths, and the last known literal determines the kind.
    """
    literals = [literal.lower() for literal in path.strip("/").split("/")[:_MAX_PARTS:2]]
    if literals[0] not in ("tenant", "subscription"):
        return None
    kind: str | None = None
    for literal in literals[1:]:
        if literal == "network":
            kind = _NETWORKS.get(kind, "network")
        elif literal in _KIND_OF_LITERAL:
            kind = _KIND_OF_LITERAL[literal]
        else:
            break
    return kind
