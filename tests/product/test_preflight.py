"""Checks before the product starts. That a failed one stops a real start is tested in `test_up.py`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

from config.environment import SettingError
from config.supervisor import preflight


@pytest.mark.django_db
def test_an_outdated_sqlite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_database()
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    with pytest.raises(SettingError, match=r"DATABASE_URL.*older than 3\.35"):
        preflight.check_database()


@pytest.mark.parametrize("name", ["PORT", "SANDBOX_PORT"])
def test_a_port_in_use_is_named(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingError, match=f"^{name}: port {port} on 127.0.0.1 is in use; "):
            preflight.check_port(name, "127.0.0.1", port)
    preflight.check_port(name, "127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no host"])
def test_a_host_of_another_machine_is_named(host: str) -> None:
    with pytest.raises(SettingError, match=f"^HOST: '?{host}'? is not an address of this machine; "):
        preflight.check_port("PORT", host, 8000)


def test_a_data_dir_that_cannot_be_written_to_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    preflight.check_data_dir()
    settings.DATA_DIR = tmp_path / "a file"
    settings.DATA_DIR.write_text("is in the way")
    with pytest.raises(SettingError, match=r"^DATA_DIR: .* cannot be written to \(Not a directory\); "):
        preflight.check_data_dir()


def test_a_database_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused\n\tIs the server running?")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    with pytest.raises(SettingError, match=r"^DATABASE_URL: the database cannot be reached: connection refused Is the"):
        preflight.check_database()
