"""Reads settings from the environment, `.env` and `DATA_DIR/secrets.env`, in that order, and says what is wrong."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DATABASE_EXAMPLES = "postgres://user:password@host:5432/name or sqlite:////var/lib/hookkeeper/hookkeeper.sqlite3"
DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql", "psql", "pgsql")
POSTGRES_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5}
BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps")


class SettingError(SystemExit):
    """A setting is missing or wrong.

    It is a SystemExit, so that manage.py, celery and the web server all end with this one sentence on standard error
    and exit code 1, and none of them with a traceback.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Environment(environ.Env):  # type: ignore[misc]  # the library has no types
    """A copy of the environment. Files fill in what it lacks or has empty, and `os.environ` stays as it is."""

    ENVIRON: ClassVar[dict[str, str]] = {name: value for name, value in os.environ.items() if value.strip()}


def text(name: str, default: str = "") -> str:
    """The value as it is written; an empty one counts as absent."""
    # Not through Env.get_value: it would take a secret that starts with "$" for the name of another variable.
    return Environment.ENVIRON.get(name, "").strip() or default


def words(name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(word.strip() for word in text(name).split(",") if word.strip()) or default


def flag(name: str, *, default: bool) -> bool:
    """Yes or no."""
    value = text(name, "1" if default else "0").lower()
    if value in environ.Env.BOOLEAN_TRUE_STRINGS:
        return True
    if value in ("0", "false", "no", "off", "n"):
        return False
    raise SettingError(name, f"{value!r} is neither 1 nor 0.")


def number(name: str, default: int, *, least: int, most: int) -> int:
    """A whole number within its limits."""
    value = text(name, str(default))
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise SettingError(
            name, f"{value!r} is not a whole number from {least} to {most}; for example {name}={default}."
        )
    return int(value)


def choice(name: str, default: str, *, among: tuple[str, ...]) -> str:
    """One of a few words, in any case."""
    value = text(name, default).upper()
    if value not in among:
        raise SettingError(name, f"{value!r} is none of {', '.join(among)}.")
    return value


def networks(name: str) -> tuple[Network, ...]:
    """A comma-separated list of networks or single addresses."""
    found: list[Network] = []
    for word in words(name):
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError:
            raise SettingError(name, f"{word!r} is not a network; write it as 10.0.0.0/8 or fd00::/8.") from None
    return tuple(found)


def origin(name: str, default: str) -> str:
    """An http(s) address of scheme, host and port, without a final slash."""
    value = text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or a broken IPv6 address
        valid = False
    if not valid or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise SettingError(
            name, f"{value!r} is not an address of scheme and host alone, such as https://hooks.example.com."
        )
    return value


def data_dir() -> Path:
    """DATA_DIR, made when absent. A relative path starts at the project's folder, not where the command was typed."""
    path = BASE_DIR / text("DATA_DIR", "var")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            "DATA_DIR", f"the folder {path} cannot be made ({error.strerror}); name one that can be written to."
        ) from None
    return path


def fernet_keys(name: str) -> tuple[str, ...]:
    """Comma-separated Fernet keys, at least one: the first encrypts, all decrypt."""
    keys = words(name) or (secret(name),)
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            raise SettingError(
                name,
                f"key {position} is not a Fernet key (32 bytes in URL-safe base64); make one with `python -c "
                '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`.',
            ) from None
    return keys


def secret(name: str) -> str:
    """A value that must be there and has no default."""
    value = text(name)
    if not value:
        raise SettingError(
            name,
            "it is not set; put it into the environment or .env, "
            "or run `python manage.py up` once, which makes it and keeps it in DATA_DIR/secrets.env.",
        )
    return value


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of one database, from its URL: SQLite or PostgreSQL."""
    url = text(name, default)
    scheme = url.partition("://")[0]
    try:
        found = dict(Environment.db_url_config(url)) if scheme in DATABASE_SCHEMES else {}
    except ValueError:
        found = {}
    options = found.setdefault("OPTIONS", {})
    if scheme == "sqlite" and found.get("NAME", ":memory:") != ":memory:":
        found["NAME"] = BASE_DIR / found["NAME"]
        # IMMEDIATE takes the write lock at once, so that two writers wait for each other instead of failing half-way.
        # FULL, because what was answered with 200 must survive a power cut.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 30)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        return found
    if scheme != "sqlite" and found.get("NAME"):
        # A server that vanished without a word is noticed within seconds, not by the network's own time-outs.
        for option, value in POSTGRES_PATIENCE.items():
            options.setdefault(option, value)
        return {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, **found}
    raise SettingError(
        name, f"its value is not the URL of a PostgreSQL or SQLite database, such as {DATABASE_EXAMPLES}."
    )


def broker(name: str) -> str:
    """The URL of Celery's broker."""
    url = text(name, "embedded://")
    if url.rstrip("/") == "embedded:":
        return "embedded://localhost/"  # Celery would warn about an address without a host
    try:
        parts = urlsplit(url)
        valid = parts.scheme in BROKER_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SettingError(
            name, "its value is none of embedded://, redis://host:6379/0 and amqp://user:password@host:5672//."
        )
    return url


def email(name: str) -> dict[str, Any]:
    """Django's e-mail settings, from a URL. Without one, e-mail is written to standard output."""
    try:
        return dict(Environment.email_url_config(text(name, "consolemail://")))
    except (ImproperlyConfigured, ValueError):
        raise SettingError(
            name, "its value is not an e-mail URL, such as smtp+tls://user:password@mail.example.com:587."
        ) from None


Environment.read_env(text("ENV_FILE", str(BASE_DIR / ".env")))
DATA_DIR = data_dir()
SECRETS_FILE = DATA_DIR / "secrets.env"
Environment.read_env(SECRETS_FILE)
