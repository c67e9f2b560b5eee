"""The project as a Django app: it provides commands, and loads Celery's app before any task is defined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from config import celery as celery
from config.environment import others_can_read


class Config(AppConfig):
    """The app of settings, URLs, schedule and commands."""

    name = "config"
    label = "config"
    verbose_name = "Hookkeeper"

    def ready(self) -> None:
        """Register the check of this app."""
        register(find_readable_files)


def find_readable_files(**_: object) -> Sequence[CheckMessage]:
    """Warn if other users of this machine can read DATA_DIR or the SQLite database.

    New ones are private. The permissions of existing ones are left as they are, because somebody may want them so.
    """
    paths = [Path(settings.DATA_DIR)]
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        paths.append(Path(database["NAME"]))
    return [
        Warning(f"Other users of this machine can read {path}.", hint=f"Run: chmod go= {path}", id="hookkeeper.W001")
        for path in paths
        if others_can_read(path)
    ]
