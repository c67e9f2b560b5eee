"""A webhook behavior at the simulated Files.com: its description, what its `value` may hold, what it covers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from providers.sandbox.tenant import Hook

VALUE_LISTS = ("urls", "triggers", "triggering_filenames", "exclude_filenames")
VALUE_MAPS = ("headers", "body")
VALUE_KEYS = (
    *VALUE_LISTS, *VALUE_MAPS, "method", "encoding", "verification_token", "file_form_field", "file_as_body",
    "use_dedicated_ips",
)  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {"method": ("GET", "POST"), "encoding": ("JSON", "XML", "RAW", "EV1", "EV2")}


@dataclass(slots=True, kw_only=True)
class Behavior(Hook):
    """A webhook behavior. `value` is replaced, never changed, so that it may be read without the lock."""

    path: str
    value: Mapping[str, object]
    name: str = ""
    description: str = ""
    recursive: bool = False
    disable_parent_folder_behavior: bool = False

    def describe(self) -> dict[str, object]:
        """As BehaviorEntity."""
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


class RefusalError(Exception):
    """A call that their server refuses, with what their error envelope says."""

    def __init__(self, status: int, kind: str, message: str, *, about: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.about = about
        self.body = envelope(status, kind, message)
        if about:
            self.body["model-errors"] = {about: [message]}


def envelope(status: int, kind: str, message: str) -> dict[str, object]:
    """An error as Files.com words it."""
    title = kind.rpartition("/")[2].replace("-", " ").title()
    return {"error": message, "http-code": status, "instance": "5f8f5a4e-0000", "title": title, "type": kind}


def bad(about: str, problem: str) -> RefusalError:
    """A refusal of what was sent in one field."""
    return RefusalError(422, "processing-failure/model-save-error", problem, about=about)


def read_value(value: object, triggers: Collection[str], *, at_least: int) -> dict[str, object]:
    """Checks a webhook's `value` as a whole: known keys, good shapes, so many URLs at least. Raises RefusalError for
    the first key that is wrong."""
    checked = decoded(value)
    _check_shapes(checked)
    urls = texts(checked.get("urls"))
    if not all(_is_url(url) for url in urls) or not urls:
        raise bad("urls", "urls must hold at least one URL, and nothing else")
    if len(urls) < at_least:
        raise bad("urls", "urls must hold a redundant URL")
    for key, words in CHOICES.items():
        if checked.get(key) not in (None, "", *words):
            raise bad(key, f"{key} must be one of {', '.join(words)}")
    for trigger in texts(checked.get("triggers")):
        if trigger not in triggers:
            raise bad("triggers", f"{trigger} is not one of the triggers")
    return checked


def decoded(value: object) -> dict[str, object]:
    """`value` comes nested, as JSON text, or as the old list of URLs."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise bad("value", "value is no JSON") from None
    if isinstance(value, list):
        value = {"urls": value}
    if not isinstance(value, dict):
        raise bad("value", "value must be a hash")
    return dict(value)


def _check_shapes(value: Mapping[str, object]) -> None:
    for key, item in value.items():
        if key not in VALUE_KEYS:
            raise bad("value", f"value has the unknown key {key}")
        if key in VALUE_LISTS and item is not None and texts(item) != item:
            raise bad(key, f"{key} must be a list of texts")
        if key in VALUE_MAPS and item is not None and not isinstance(item, dict):
            raise bad(key, f"{key} must be a hash")


def texts(value: object) -> list[str]:
    """The texts of a list; none when it is no list."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def configure(hook: Behavior, fields: Mapping[str, object], value: Mapping[str, object]) -> None:
    """Takes over the fields that are given, and the checked `value`."""
    hook.value, hook.url = dict(value), texts(value.get("urls"))[0]
    hook.name = str(fields.get("name", hook.name))
    hook.description = str(fields.get("description", hook.description))
    hook.recursive = bool(fields.get("recursive", hook.recursive))
    hook.disable_parent_folder_behavior = bool(
        fields.get("disable_parent_folder_behavior", hook.disable_parent_folder_behavior)
    )


def covers(hook: Behavior, path: str) -> bool:
    """Whether something at that path (in lower case) is in the folder and let through by its file name."""
    folder, (parent, _, name) = hook.path.lower(), path.rpartition("/")
    inside = parent == folder or (hook.recursive and (not folder or parent.startswith(folder + "/")))
    wanted = [pattern.lower() for pattern in texts(hook.value.get("triggering_filenames"))]
    excluded = [pattern.lower() for pattern in texts(hook.value.get("exclude_filenames"))]
    return (
        (inside or path == folder)
        and (not wanted or any(fnmatchcase(name, pattern) for pattern in wanted))
        and not any(fnmatchcase(name, pattern) for pattern in excluded)
    )
