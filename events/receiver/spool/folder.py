"""The spool folder: where its files are, how they are named, and how they are written durably."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

SUFFIX = ".spool"
UNFINISHED_SUFFIX = ".new"  # being created: not locked yet, and not to be drained
DAMAGED_SUFFIX = ".damaged"
REFUSED_FOLDER = "refused"  # records that the database refuses


def spool_folder() -> Path:
    """Return the folder of the spool files."""
    path: Path = settings.DATA_DIR / "spool"
    return path


def list_files(suffix: str = SUFFIX) -> list[os.DirEntry[str]]:
    """Return the spool's files with this suffix, oldest first: their names are UUIDv7."""
    try:
        with os.scandir(spool_folder()) as entries:
            return sorted((item for item in entries if item.name.endswith(suffix)), key=lambda item: item.name)
    except FileNotFoundError:
        return []


def write_all(file: int, data: bytes, offset: int) -> None:
    """Write all of the data at the offset, in as many system calls as it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def sync_folders(*folders: Path) -> None:
    """Flush the folders to disk, so that the names of new files survive a crash like their content does."""
    for path in folders:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
