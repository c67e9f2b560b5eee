"""Read settings from the environment, `.env` and `DATA_DIR/secrets.env`, in that order, and validate them."""

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
POSTGRES_TIMEOUTS = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 5}
BROKER_SCHEMES = ("redis", "rediss", "amqp", "amqps")


class SettingError(SystemExit):
    """A setting is missing or invalid.

    A subclass of SystemExit, so that manage.py, celery and the web server exit with code 1 and this one sentence on
    standard error, without a traceback.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Environment(environ.Env):  # type: ignore[misc]  # the library has no types
    """A copy of the environment. Files add what is missing or empty; `os.environ` is not changed."""

    ENVIRON: ClassVar[dict[str, str]] = {name: value for name, value in os.environ.items() if value.strip()}


def text(name: str, default: str = "") -> str:
    """Return the value as written, or `default` if it is absent or empty."""
    # Not through Env.get_value, which takes a secret that starts with "$" as the name of another variable.
    return Environment.ENVIRON.get(name, "").strip() or default


def comma_separated(name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the items of a comma-separated list."""
    return tuple(item.strip() for item in text(name).split(",") if item.strip()) or default


def flag(name: str, *, default: bool) -> bool:
    """Return a boolean. Raise SettingError for a value that is not one."""
    value = text(name, "1" if default else "0").lower()
    if value in environ.Env.BOOLEAN_TRUE_STRINGS:
        return True
    if value in ("0", "false", "no", "off", "n"):
        return False
    raise SettingError(name, f"{value!r} is not a boolean; use 1 or 0.")


def number(name: str, default: int, *, minimum: int, maximum: int) -> int:
    """Return an integer from `minimum` to `maximum`. Raise SettingError for any other value."""
    value = text(name, str(default))
    if not (value.isascii() and value.isdigit() and minimum <= int(value) <= maximum):
        raise SettingError(
            name, f"{value!r} is not a whole number from {minimum} to {maximum}; for example {name}={default}."
        )
    return int(value)


def choice(name: str, default: str, *, allowed: tuple[str, ...]) -> str:
    """Return one of the `allowed` values, ignoring case. Raise SettingError for any other value."""
    value = text(name, default).upper()
    if value not in allowed:
        raise SettingError(name, f"{value!r} is not one of {', '.join(allowed)}.")
    return value


def networks(name: str) -> tuple[Network, ...]:
    """Return a comma-separated list of networks or addresses. Raise SettingError for an invalid one."""
    result: list[Network] = []
    for item in comma_separated(name):
        try:
            result.append(ipaddress.ip_network(item))
        except ValueError:
            raise SettingError(name, f"{item!r} is not a network; write it as 10.0.0.0/8 or fd00::/8.") from None
    return tuple(result)


def origin(name: str, default: str) -> str:
    """Return an HTTP(S) origin (scheme, host and port) without a final slash. Raise SettingError for anything else."""
    value = text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
        valid = False
    if not valid or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise SettingError(
            name, f"{value!r} is not a URL of only scheme, host and port, such as https://hooks.example.com."
        )
    return value


def data_dir() -> Path:
    """Return DATA_DIR, created if missing. A relative path is relative to the project, not the working directory."""
    path = BASE_DIR / text("DATA_DIR", "var")
    os.umask(0o077)  # the database, the spool and the broker's files hold what only this user may read
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            "DATA_DIR", f"the folder {path} cannot be created ({error.strerror}); use a writable one."
        ) from None
    return path


def others_can_read(path: Path) -> bool:
    """Return whether other users of this machine can read the file or folder."""
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def fernet_keys(name: str) -> tuple[str, ...]:
    """Return comma-separated Fernet keys, at least one. The first encrypts, all decrypt."""
    keys = comma_separated(name) or (secret(name),)
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            raise SettingError(
                name,
                f"key {position} is not a Fernet key (32 bytes in URL-safe base64); generate one with `python -c "
                '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"`.',
            ) from None
    return keys


def secret(name: str, *, minimum: int = 1) -> str:
    """Return a required value. Raise SettingError if it is not set or has fewer than `minimum` characters."""
    value = text(name)
    if not value:
        raise SettingError(
            name,
            "it is not set; add it to the environment or .env, "
            "or run `python manage.py up` once, which generates it and stores it in DATA_DIR/secrets.env.",
        )
    if len(value) < minimum:
        raise SettingError(name, f"it is shorter than {minimum} characters; use a longer random value.")
    return value


def database(name: str, default: str) -> dict[str, Any]:
    """Return Django's settings of a database from its URL. Raise SettingError unless it is SQLite or PostgreSQL."""
    url = text(name, default)
    scheme = url.partition("://")[0]
    try:
        config = dict(Environment.db_url_config(url)) if scheme in DATABASE_SCHEMES else {}
    except ValueError:
        config = {}
    options = config.setdefault("OPTIONS", {})
    if scheme == "sqlite" and config.get("NAME", ":memory:") != ":memory:":
        config["NAME"] = BASE_DIR / config["NAME"]
        # IMMEDIATE takes the write lock at the start, so that two writers wait for each other instead of failing later.
        # FULL, because a request answered with 200 must survive a power cut.
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("timeout", 30)
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        return config
    if scheme != "sqlite" and config.get("NAME"):
        # A server that vanishes is noticed within seconds; the network's own timeouts take minutes.
        for option, value in POSTGRES_TIMEOUTS.items():
            options.setdefault(option, value)
        return {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, **config}
    raise SettingError(
        name, f"the value is not the URL of a PostgreSQL or SQLite database, such as {DATABASE_EXAMPLES}."
    )


def broker(name: str) -> str:
    """Return the URL of Celery's broker. Raise SettingError for an unsupported one."""
    url = text(name, "embedded://")
    if url.rstrip("/") == "embedded:":
        return "embedded://localhost/"  # Celery warns about a URL without a host
    try:
        parts = urlsplit(url)
        valid = parts.scheme in BROKER_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SettingError(
            name, "the value is not one of embedded://, redis://host:6379/0 and amqp://user:password@host:5672//."
        )
    return url


def email(name: str) -> dict[str, Any]:
    """Return Django's email settings from a URL. Without one, email is written to standard output."""
    try:
        return dict(Environment.email_url_config(text(name, "consolemail://")))
    except (ImproperlyConfigured, ValueError):
        raise SettingError(
            name, "the value is not an email URL, such as smtp+tls://user:password@mail.example.com:587."
        ) from None


Environment.read_env(text("ENV_FILE", str(BASE_DIR / ".env")))
DATA_DIR = data_dir()
SECRETS_FILE = DATA_DIR / "secrets.env"
Environment.read_env(SECRETS_FILE)
