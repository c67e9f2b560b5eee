"""The command `manage.py sandbox`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import requests

from providers.sandbox.server import Sandbox
from tests.sandbox.client import SLUG

RUN_COMMAND = """
import sys
import django
from django.core.management import call_command
from providers.management.commands.sandbox import Command
django.setup()
call_command(Command(), port=int(sys.argv[1]))
"""


def _start_command(port: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN_COMMAND, str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_command_serves_the_sandbox_until_a_signal() -> None:
    with _start_command(0) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().split()[1]
            assert requests.get(url, timeout=10).json()["providers"]
            stream = requests.get(f"{url}{SLUG}/state", timeout=10).json()["stream"]
        finally:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert stream["demo"]["per_minute"] == 40


@pytest.mark.slow
def test_the_command_names_the_setting_when_the_port_is_taken(sandbox: Sandbox) -> None:
    with _start_command(int(sandbox.url.rpartition(":")[2])) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "SANDBOX_PORT" in errors
