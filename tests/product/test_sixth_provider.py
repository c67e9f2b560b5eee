"""A new provider is one folder: it is added to a copy of the project without any other change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "sample_provider"
PROJECT_PATHS = (
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

CHECK_REGISTRATION = """
from django.test import Client
from providers.contract.registry import all_providers
from providers.sandbox.server import find_simulators
assert "acme-box" in all_providers()
assert "acme-box" in [kind.slug for kind in find_simulators()]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the sample provider."""
    copy = tmp_path_factory.mktemp("project")
    for name in PROJECT_PATHS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
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


@pytest.mark.slow
def test_the_sample_provider_passes_the_contract_suite(project: Path) -> None:
    result = run(project, "-m", "pytest", "-q", "-p", "no:randomly", "providers/acme_box/tests")
    assert result.returncode == 0, result.stdout[-4000:]
    assert " passed" in result.stdout


@pytest.mark.slow
def test_registry_sandbox_and_checks_find_the_sample_provider(project: Path) -> None:
    result = run(project, "manage.py", "shell", "-c", CHECK_REGISTRATION)
    assert result.returncode == 0, result.stderr
    result = run(project, "manage.py", "makemigrations", "--check", "--dry-run")
    assert result.returncode == 0, result.stdout + result.stderr
