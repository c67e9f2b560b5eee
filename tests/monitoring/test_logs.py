"""The format of log lines."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from config.monitoring.logs import OneLine
from tests.harness.processes import run_python


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, None)


def test_a_record_is_one_line_in_utc() -> None:
    line = OneLine().format(record("first\nsecond"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING x: first \| second", line)


def test_a_traceback_is_on_the_same_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        failed = record("It failed.")
        failed.exc_info = sys.exc_info()
    line = OneLine().format(failed)
    assert "ValueError: broken" in line
    assert "\n" not in line


@pytest.mark.parametrize(("status", "traced"), [(403, False), (500, True)])
def test_a_refused_request_is_logged_without_a_traceback(status: int, traced: bool) -> None:
    try:
        raise PermissionError("not for you")
    except PermissionError:
        refused = record("Forbidden: %s", "/admin/")
        refused.exc_info = sys.exc_info()
    refused.status_code = status
    line = OneLine().format(refused)
    assert ("Traceback" in line) is traced
    assert "Forbidden: /admin/" in line
    assert refused.exc_info


@pytest.mark.parametrize("odd", ["cut \ud83d", "\udcff", "a\x00b"])
def test_a_line_is_valid_utf_8(odd: str) -> None:
    line = OneLine().format(record("Refused: %s", odd))
    assert "\ufffd" in line.encode().decode()
    assert "\x00" not in line


def test_the_token_of_a_callback_url_is_masked() -> None:
    line = OneLine().format(record("Unauthorized: %s", "/hooks/s3cret/ and '/hooks/t0ken'"))
    assert "/hooks/***/ and '/hooks/***'" in line
    assert "s3cret" not in line


@pytest.mark.slow
def test_a_foreign_host_header_logs_at_most_one_line() -> None:
    # In a separate process, because pytest adds handlers to every logger.
    code = "from django.test import Client; print(Client().get({path!r}, headers={{'Host': 'foreign.example.test'}}))"
    for path in ("/admin/", "/api/v1/providers/"):
        ended = run_python(code.format(path=path))
        assert "status_code=400" in ended.stdout, ended.stderr
        assert len(ended.stderr.splitlines()) <= 1, ended.stderr
