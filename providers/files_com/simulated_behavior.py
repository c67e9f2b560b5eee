"""A webhook behavior at the simulated Files.com: its fields, its JSON form, and the paths that it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from providers.files_com.simulated_requests import VALUE_KEYS, texts
from providers.sandbox.calls import InvalidControlInput
from providers.sandbox.tenant import Hook
from providers.sandbox.webhook_sender import SendResult

# The sandbox's control calls also accept our names of these keys of `value`.
API_NAMES: Mapping[str, str] = {"filenames": "triggering_filenames"}
SETTABLE_FIELDS = ("name", "description", "recursive", "value", "disable_parent_folder_behavior")


@dataclass(slots=True, kw_only=True)
class Behavior(Hook):
    """A webhook behavior. `value` is replaced, never modified, so that it can be read without the lock."""

    path: str
    value: Mapping[str, object]
    name: str = ""
    description: str = ""
    recursive: bool = False
    disable_parent_folder_behavior: bool = False

    def describe(self) -> dict[str, object]:
        """Return the behavior in the form of BehaviorEntity."""
        return {
            "id": int(self.remote_id),
            "path": self.path,
            "attachment_url": None,
            "behavior": "webhook",
            "name": self.name,
            "description": self.description,
            "value": dict(self.value),
            "disable_parent_folder_behavior": self.disable_parent_folder_behavior,
            "recursive": self.recursive,
        }


def configure(hook: Behavior, fields: Mapping[str, object], value: Mapping[str, object]) -> None:
    """Set the given fields and the checked `value`."""
    hook.value, hook.url = dict(value), texts(value.get("urls"))[0]
    hook.name = str(fields.get("name", hook.name))
    hook.description = str(fields.get("description", hook.description))
    hook.recursive = bool(fields.get("recursive", hook.recursive))
    hook.disable_parent_folder_behavior = bool(
        fields.get("disable_parent_folder_behavior", hook.disable_parent_folder_behavior)
    )


def covers(hook: Behavior, path: str) -> bool:
    """Return whether a path (in lower case) is in the behavior's folder and its file name matches the filters."""
    folder, (parent, _, name) = hook.path.lower(), path.rpartition("/")
    inside = parent == folder or (hook.recursive and (not folder or parent.startswith(folder + "/")))
    included = [pattern.lower() for pattern in texts(hook.value.get("triggering_filenames"))]
    excluded = [pattern.lower() for pattern in texts(hook.value.get("exclude_filenames"))]
    return (
        (inside or path == folder)
        and (not included or any(fnmatchcase(name, pattern) for pattern in included))
        and not any(fnmatchcase(name, pattern) for pattern in excluded)
    )


def expiration_behavior(folder: str) -> dict[str, object]:
    """Return a behavior of another kind, as sites have them besides webhooks."""
    return {"id": 3, "path": folder, "behavior": "file_expiration", "value": 30, "recursive": True}


def test_call_result(result: SendResult, ok: bool, newer: bool) -> dict[str, object]:
    """Return the response to a test call; `newer` selects the form of /webhook_tests."""
    entity: dict[str, object] = {
        "code": result.status or 0,
        "message": "" if ok else result.failure or "The receiver did not answer 200.",
        "status": "success" if ok else "failure",
        "data": {},
    }
    return {**entity, "success": ok} if newer else {**entity, "errors": []}


def api_changes(config: Mapping[str, object], hook: Behavior) -> tuple[dict[str, object], dict[str, object]]:
    """Return the fields of a control call under the API's names: those of the behavior, and those of its value.

    Raises InvalidControlInput for a field that does not exist or cannot change.
    """
    fields: dict[str, object] = {}
    changes: dict[str, object] = {}
    for key, value in config.items():
        name = API_NAMES.get(key, key)
        if name == "callback_url":
            changes["urls"] = [value, *texts(hook.value["urls"])[1:]]
        elif name == "redundant_urls" and isinstance(value, list):
            changes["urls"] = [hook.url, *value]
        elif name in VALUE_KEYS:
            changes[name] = value
        elif name in SETTABLE_FIELDS and name != "value":
            fields[name] = value
        elif name == "value" and isinstance(value, dict):
            changes |= value
        else:
            raise InvalidControlInput(f"config.{key}: there is no such field, or it cannot change")
    return fields, changes
