"""Checks before the product starts. Each failure is one sentence that names the setting."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from typing import IO

from django.conf import settings
from django.db import DatabaseError, connection

from config.environment import SettingError


def check_data_dir() -> None:
    """Raise SettingError if DATA_DIR is not writable."""
    try:
        with tempfile.TemporaryFile(dir=settings.DATA_DIR):
            pass
    except OSError as error:
        raise SettingError(
            "DATA_DIR", f"{settings.DATA_DIR} cannot be written to ({error.strerror}); name another folder."
        ) from None


def lock_data_dir() -> IO[str]:
    """Reserve DATA_DIR for this process. Return the lock file, which holds the lock until it is closed.

    Raise SettingError if another process holds it: two installations on one folder would share a database unnoticed.
    """
    file = (settings.DATA_DIR / "up.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SettingError(
            "DATA_DIR", f"another Hookkeeper runs on {settings.DATA_DIR}; stop it or name another folder."
        ) from None
    return file


def check_port(name: str, host: str, port: int) -> None:
    """Raise SettingError, naming the setting `name`, if no process can listen on `host` and `port`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Connections of an earlier run that are still closing do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise SettingError("HOST", f"{host!r} is not an address of this machine; use 127.0.0.1 or 0.0.0.0.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingError(
                name,
                f"port {port} on {host} is in use; stop the program that uses it, or set {name} to another number.",
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingError("HOST", f"{host} is not an address of this machine; use 127.0.0.1 or 0.0.0.0.") from None
        raise SettingError(name, f"port {port} on {host} cannot be used: {os.strerror(error.errno or 0)}.") from None


def check_database() -> None:
    """Raise SettingError if the database is unreachable or too old."""
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingError("DATABASE_URL", f"the database cannot be reached: {reason}") from None
    if not connection.features.can_return_columns_from_insert:
        raise SettingError(
            "DATABASE_URL", "this Python includes an SQLite older than 3.35; use a newer Python, or PostgreSQL."
        )
