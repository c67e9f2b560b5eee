"""Settings: every program reports an invalid setting in one sentence."""

from __future__ import annotations

import ipaddress
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from config import environment
from config.environment import BASE_DIR, Environment, SettingError
from config.supervisor import secret_keys

Values = dict[str, str]


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> Values:
    """Return the environment that settings are read from: empty, for the test to fill."""
    empty: Values = {}
    monkeypatch.setattr(Environment, "ENVIRON", empty)
    return empty


def run(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_one_sentence(result: subprocess.CompletedProcess[str], name: str) -> None:
    assert result.returncode == 1, result
    assert result.stderr.startswith(f"{name}: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr


WRONG = [
    ("SECRET_KEY", ""),
    ("SECRET_KEY", "only-31-characters-are-too-few."),
    ("ENCRYPTION_KEYS", ""),
    ("ENCRYPTION_KEYS", "short"),
    ("ENCRYPTION_KEYS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,short"),
    ("PUBLIC_URL", "hooks.example.com"),
    ("PORT", "eighty"),
    ("SANDBOX_PORT", "70000"),
    ("DATABASE_URL", "mysql://root@127.0.0.1/hookkeeper"),
    ("CELERY_BROKER_URL", "kafka://127.0.0.1"),
    ("EMAIL_URL", "pigeon://loft"),
    ("DEBUG", "maybe"),
    ("DATA_DIR", "/dev/null/var"),
    ("ALLOW_PRIVATE_NETWORKS", "10.0.0.0/8,ten"),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("MAX_BODY_BYTES", "10 MiB"),
    ("LOG_LEVEL", "loud"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_invalid_setting_is_named_in_one_sentence(name: str, value: str) -> None:
    assert_one_sentence(run("manage.py", "check", env={name: value}), name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "celery", "--app", "config.celery", "worker"),
        ("-c", "import config.wsgi"),
        ("manage.py", "up"),
    ],
    ids=["celery", "wsgi", "up"],
)
def test_every_program_reports_an_invalid_setting_the_same_way(command: tuple[str, ...]) -> None:
    assert_one_sentence(run(*command, env={"PORT": "eighty"}), "PORT")


@pytest.mark.slow
def test_the_ports_must_differ() -> None:
    assert_one_sentence(run("manage.py", "check", env={"PORT": "9000", "SANDBOX_PORT": "9000"}), "SANDBOX_PORT")


@pytest.mark.slow
def test_the_settings_of_the_tests_pass_the_checks() -> None:
    assert run("manage.py", "check", env={}).returncode == 0


def test_a_secret_may_begin_with_a_dollar(values: Values) -> None:
    values["SECRET_KEY"] = "$PATH"
    assert environment.secret("SECRET_KEY") == "$PATH"


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com", "https://hooks.example.com/", "http://[::1]:8000", "http://10.1.2.3:80"]
)
def test_an_origin_loses_only_its_final_slash(values: Values, url: str) -> None:
    values["PUBLIC_URL"] = url
    assert environment.origin("PUBLIC_URL", "") == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://hooks.example.com",
        "https://",
        "https://hooks.example.com/base",
        "https://hooks.example.com?x=1",
        "https://user@hooks.example.com",
        "https://hooks.example.com:port",
        "https://[::1",
    ],
)
def test_a_url_that_is_not_an_origin_is_refused(values: Values, url: str) -> None:
    values["PUBLIC_URL"] = url
    with pytest.raises(SettingError):
        environment.origin("PUBLIC_URL", "")


def test_networks_may_be_single_addresses(values: Values) -> None:
    values["ALLOW_PRIVATE_NETWORKS"] = "10.0.0.0/8, ::1"
    expected = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"))
    assert environment.networks("ALLOW_PRIVATE_NETWORKS") == expected


def test_sqlite_waits_for_other_writers_and_survives_a_power_cut(values: Values) -> None:
    values["DATABASE_URL"] = "sqlite:///var/x.sqlite3"
    database = environment.database("DATABASE_URL", "")
    assert database["NAME"] == BASE_DIR / "var/x.sqlite3"
    assert database["OPTIONS"] == {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
    }


def test_postgres_is_read_from_its_url(values: Values) -> None:
    values["DATABASE_URL"] = "postgres://ann:p%40ss@db.example.com:5433/hooks?sslmode=require"
    database = environment.database("DATABASE_URL", "")
    login = (database["USER"], database["PASSWORD"], database["HOST"], database["PORT"])
    assert login == ("ann", "p@ss", "db.example.com", 5433)
    assert database["NAME"] == "hooks"
    assert database["OPTIONS"] == {"sslmode": "require", **environment.POSTGRES_TIMEOUTS}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite://:memory:", "postgres://host", "postgres://host:port/x", "x"])
def test_an_incomplete_or_in_memory_database_url_is_refused(values: Values, url: str) -> None:
    values["DATABASE_URL"] = url
    with pytest.raises(SettingError):
        environment.database("DATABASE_URL", "")


def test_secrets_are_generated_once_in_a_file_that_only_the_owner_can_read(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets.env"
    monkeypatch.setattr(secret_keys, "SECRETS_FILE", file)
    secret_keys.ensure_secrets()
    generated = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert environment.fernet_keys("ENCRYPTION_KEYS")
    secret_keys.ensure_secrets()
    assert file.read_text() == generated


def test_a_secret_that_is_set_is_not_generated(values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secrets.env"
    monkeypatch.setattr(secret_keys, "SECRETS_FILE", file)
    values["ENCRYPTION_KEYS"] = Fernet.generate_key().decode()
    secret_keys.ensure_secrets()
    assert "SECRET_KEY=" in file.read_text()
    assert "ENCRYPTION_KEYS=" not in file.read_text()


def test_files_add_settings_that_the_environment_lacks(values: Values, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nHOST='0.0.0.0'\n")
    values["PORT"] = "9001"
    Environment.read_env(tmp_path / ".env")
    assert (environment.text("PORT"), environment.text("HOST")) == ("9001", "0.0.0.0")


def test_the_public_host_and_loopback_are_allowed() -> None:
    assert urlsplit(settings.PUBLIC_URL).hostname in settings.ALLOWED_HOSTS
    assert {"127.0.0.1", "localhost", "[::1]"} <= set(settings.ALLOWED_HOSTS)


@pytest.mark.slow
def test_an_https_url_enables_secure_cookies_hsts_and_redirects() -> None:
    code = (
        "from config import settings as s; "
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS > 0, s.SECURE_SSL_REDIRECT,"
        " s.CSRF_TRUSTED_ORIGINS, s.SANDBOX_URL)"
    )
    env = {"PUBLIC_URL": "https://hooks.example.com", "TRUSTED_PROXIES": "10.0.0.0/8", "DEMO": "0"}
    result = run("-c", code, env=env)
    assert result.stdout == "True True True True ['https://hooks.example.com'] None\n", result.stderr
