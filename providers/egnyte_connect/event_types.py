"""The event types of Egnyte Connect, and the wildcards that cover groups of them.

Source: the EventType enum of Egnyte's "Connect Public API - webhooks" page. The wildcards for workflow, group and user
are only in beplatform/egnyte-go-sdk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from providers.contract.capabilities import Action, EventType

FILES = "Files and folders"
LINKS = "Links"
COMMENTS = "Comments"
METADATA = "Metadata"
WORKFLOWS = "Workflows"
GROUPS = "Groups"
PERMISSIONS = "Permissions"
USERS = "Users"


def _wildcard(name: str, group: str, label: str) -> EventType:
    return EventType(name, Action.OTHER, group, label, wildcard=True)


# Removing a link, a comment or a metadata key is not `deleted`: `resource` is the file, which still exists.
EVENT_TYPES: tuple[EventType, ...] = (
    _wildcard("fs:*", FILES, "Every file and folder event"),
    EventType("fs:add_file", Action.CREATED, FILES, "File added", "file"),
    EventType("fs:add_folder", Action.CREATED, FILES, "Folder added", "folder"),
    EventType("fs:upload_link", Action.CREATED, FILES, "File added through an upload link", "file"),
    EventType("fs:copy_file", Action.COPIED, FILES, "File copied", "file"),
    EventType("fs:copy_folder", Action.COPIED, FILES, "Folder copied", "folder"),
    EventType("fs:delete_file", Action.DELETED, FILES, "File deleted", "file"),
    EventType("fs:delete_folder", Action.DELETED, FILES, "Folder deleted", "folder"),
    EventType("fs:delete_from_trash", Action.DELETED, FILES, "Deleted from the trash for good"),
    EventType("fs:move_file", Action.MOVED, FILES, "File moved or renamed", "file"),
    EventType("fs:move_folder", Action.MOVED, FILES, "Folder moved or renamed", "folder"),
    EventType("fs:restore_from_trash", Action.RESTORED, FILES, "Restored from the trash"),
    EventType("fs:lock_file", Action.LOCKED, FILES, "File locked", "file"),
    EventType("fs:unlock_file", Action.UNLOCKED, FILES, "File unlocked", "file"),
    EventType("fs:folder_project_activity", Action.UPDATED, FILES, "Activity in a project folder", "folder"),
    _wildcard("link:*", LINKS, "Every link event"),
    EventType("link:create", Action.SHARED, LINKS, "Link created", "link"),
    EventType("link:create_download_link", Action.SHARED, LINKS, "Download link created", "link"),
    EventType("link:create_upload_link", Action.SHARED, LINKS, "Upload link created", "link"),
    EventType("link:delete", Action.UNSHARED, LINKS, "Link deleted", "link"),
    EventType("link:delete_download_link", Action.UNSHARED, LINKS, "Download link deleted", "link"),
    EventType("link:delete_upload_link", Action.UNSHARED, LINKS, "Upload link deleted", "link"),
    _wildcard("comment:*", COMMENTS, "Every comment event"),
    EventType("comment:set_comment", Action.COMMENTED, COMMENTS, "Comment written", "comment"),
    EventType("comment:remove_comment", Action.UNCOMMENTED, COMMENTS, "Comment removed", "comment"),
    _wildcard("meta:*", METADATA, "Every metadata event"),
    EventType("meta:add_metadata_key", Action.UPDATED, METADATA, "Metadata key added", "metadata"),
    EventType("meta:delete_metadata_key", Action.UPDATED, METADATA, "Metadata key deleted", "metadata"),
    _wildcard("workflow:*", WORKFLOWS, "Every workflow event (unconfirmed)"),
    EventType("workflow:created", Action.CREATED, WORKFLOWS, "Workflow created", "workflow"),
    EventType("workflow:completed", Action.COMPLETED, WORKFLOWS, "Workflow completed", "workflow"),
    EventType("workflow:approvaltask_approved", Action.APPROVED, WORKFLOWS, "Approval task approved", "workflow"),
    EventType("workflow:approvaltask_rejected", Action.REJECTED, WORKFLOWS, "Approval task rejected", "workflow"),
    _wildcard("group:*", GROUPS, "Every group event (unconfirmed)"),
    EventType("group:create", Action.CREATED, GROUPS, "Group created", "group"),
    EventType("group:delete", Action.DELETED, GROUPS, "Group deleted", "group"),
    EventType("group:rename", Action.RENAMED, GROUPS, "Group renamed", "group"),
    EventType("group:add_members", Action.MEMBER_ADDED, GROUPS, "Members added to a group", "group"),
    EventType("group:remove_members", Action.MEMBER_REMOVED, GROUPS, "Members removed from a group", "group"),
    EventType("group:add_owner", Action.OWNER_ADDED, GROUPS, "Owner added to a group", "group"),
    EventType("group:remove_owner", Action.OWNER_REMOVED, GROUPS, "Owner removed from a group", "group"),
    _wildcard("permission:*", PERMISSIONS, "Every permission event"),
    EventType("permission:permission_change", Action.PERMISSION_CHANGED, PERMISSIONS, "Permissions changed", "folder"),
    _wildcard("user:*", USERS, "Every user event (unconfirmed)"),
)

UNCONFIRMED_WILDCARDS = frozenset({"workflow:*", "group:*", "user:*"})


def without_covered(names: Iterable[str]) -> list[str]:
    """Return the names sorted and unique, without the types that a wildcard among them covers."""
    unique = set(names)
    return sorted(name for name in unique if name.endswith(":*") or f"{name.partition(':')[0]}:*" not in unique)


# All events in terms of the documented enum, so that Egnyte accepts it: the confirmed wildcards, and the single types
# of the groups whose wildcard is unconfirmed.
ALL_EVENTS: tuple[str, ...] = tuple(
    without_covered(item.name for item in EVENT_TYPES if item.name not in UNCONFIRMED_WILDCARDS)
)
_MEMBERS: Mapping[str, frozenset[str]] = {
    wildcard.name: frozenset(item.name for item in EVENT_TYPES if item.group == wildcard.group and not item.wildcard)
    for wildcard in EVENT_TYPES
    if wildcard.wildcard
}


def canonical_types(names: Iterable[str]) -> list[str]:
    """Return the names sorted and unique, so that equivalent lists are equal; an empty list means all events.

    Egnyte may show a wildcard as its types. All types of a confirmed wildcard become the wildcard, and an unconfirmed
    wildcard becomes its types, which Egnyte certainly accepts.
    """
    unique = set(names)
    for wildcard, members in _MEMBERS.items():
        if wildcard not in UNCONFIRMED_WILDCARDS:
            unique |= {wildcard} if unique >= members else set()
        elif wildcard in unique and members:
            unique = (unique - {wildcard}) | members
    folded = without_covered(unique)
    return [] if set(folded) >= set(ALL_EVENTS) else folded
