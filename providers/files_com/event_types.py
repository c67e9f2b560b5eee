"""The event types of Files.com. There are no wildcards: a webhook without triggers receives every event.

Sources: the "Webhook API" page (the six file actions; on request also creation, updates and deletes of users, groups
and permissions); the ActionEntity of Files.com's Swagger document for the spelling of those.
"""

from __future__ import annotations

from providers.contract.capabilities import Action, EventType

FILES = "Files and folders"
ON_REQUEST = "Users, groups and permissions (Files.com enables these on request)"

FILE_ACTIONS = frozenset({"create", "read", "update", "destroy", "move", "copy"})

EVENT_TYPES: tuple[EventType, ...] = (
    EventType("create", Action.CREATED, FILES, "File or folder created"),
    EventType("read", Action.READ, FILES, "File downloaded"),
    EventType("update", Action.UPDATED, FILES, "File changed"),
    EventType("destroy", Action.DELETED, FILES, "File or folder deleted"),
    EventType("move", Action.MOVED, FILES, "File or folder moved or renamed"),
    EventType("copy", Action.COPIED, FILES, "File or folder copied"),
    EventType("user_create", Action.CREATED, ON_REQUEST, "User created", "user"),
    EventType("user_update", Action.UPDATED, ON_REQUEST, "User changed", "user"),
    EventType("user_destroy", Action.DELETED, ON_REQUEST, "User deleted", "user"),
    EventType("group_create", Action.CREATED, ON_REQUEST, "Group created", "group"),
    EventType("group_update", Action.UPDATED, ON_REQUEST, "Group changed", "group"),
    EventType("group_destroy", Action.DELETED, ON_REQUEST, "Group deleted", "group"),
    EventType("permission_create", Action.PERMISSION_CHANGED, ON_REQUEST, "Permission granted", "permission"),
    EventType("permission_update", Action.PERMISSION_CHANGED, ON_REQUEST, "Permission changed", "permission"),
    EventType("permission_destroy", Action.PERMISSION_CHANGED, ON_REQUEST, "Permission removed", "permission"),
)
