"""A sixth provider is one folder: it is put into a copy of the project, and nothing else there is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "sample_provider"
PARTS = (
    "config",
    "events",
    "providers",
    "subscriptions",
    "templates",
    "tests",
    "conftest.py",
    "manage.py",
    "pyproject.toml",
)

SEEN_EVERYWHERE = """
from django.test import Client
from providers.contract.registry import all_providers
from providers.sandbox.server import find_simulators
assert "acme-box" in all_providers()
assert "acme-box" in [kind.slug for kind in find_simulators()]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the sample in its place."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    shutil.copytree(SAMPLE, copy / "providers" / "acme_box", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_sample_provider_passes_the_contract_suite(project: Path) -> None:
    ended = run(project, "-m", "pytest", "-q", "-p", "no:randomly", "providers/acme_box/tests")
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert " passed" in ended.stdout


def test_registry_sandbox_and_checks_find_the_sample_provider(project: Path) -> None:
    ended = run(project, "manage.py", "shell", "-c", SEEN_EVERYWHERE)
    assert ended.returncode == 0, ended.stderr
    ended = run(project, "manage.py", "makemigrations", "--check", "--dry-run")
    assert ended.returncode == 0, ended.stdout + ended.stderr
