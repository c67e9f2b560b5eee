"""Files that only the user of the processes may read, and the login of the first user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from config.apps import find_readable_files
from config.environment import BASE_DIR, SettingError
from config.supervisor.admin_login import ensure_admin


@pytest.mark.slow
def test_everything_in_a_new_data_dir_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    env = {**os.environ, "DATA_DIR": str(folder), "DATABASE_URL": ""}
    subprocess.run([sys.executable, "manage.py", "migrate"], cwd=BASE_DIR, env=env, check=True, timeout=120)
    assert (folder / "hookkeeper.sqlite3").exists()
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "named"), [(0o700, 0o600, 0), (0o755, 0o600, 1), (0o750, 0o644, 2)]
)
def test_files_that_others_can_read_are_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder_mode: int, file_mode: int, named: int
) -> None:
    folder, file = tmp_path / "data", tmp_path / "data" / "hookkeeper.sqlite3"
    folder.mkdir()
    file.touch()
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    settings.DATA_DIR = folder
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}
    monkeypatch.setitem(settings.DATABASES, "default", database)
    warnings = find_readable_files()
    assert [warning.id for warning in warnings] == ["hookkeeper.W001"] * named
    assert stat.S_IMODE(file.stat().st_mode) == file_mode


@pytest.mark.django_db
@pytest.mark.parametrize("password", ["a", "password1", "1234567"])
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(SettingError, match=r"^ADMIN_PASSWORD: "):
        ensure_admin(password)
    assert not User.objects.exists()


@pytest.mark.django_db
def test_only_a_generated_password_is_returned_for_printing() -> None:
    assert ensure_admin("correct horse").password is None
    assert ensure_admin("correct horse").password is None
    User.objects.all().delete()
    generated = ensure_admin("").password
    assert generated
    assert User.objects.get().check_password(generated)
    assert ensure_admin("").password is None
