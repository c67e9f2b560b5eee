"""The layout of the code: files are short, modules have specific names, and private names stay in their module."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("config", "events", "subscriptions", "providers")
MAX_LINES = 450
MAX_MEDIAN_LINES = 120
VAGUE_NAMES = {"utils", "helpers", "services", "common", "manager", "managers", "misc", "base_utils"}
# The packages that each app must have; the files of a package have one subject.
PACKAGES = {
    "config": {"web", "worker", "supervisor", "monitoring", "dashboard", "rest"},
    "events": {"receiver", "processing", "retention", "storage", "monitoring", "admin", "api"},
    "subscriptions": {
        *("models", "planning", "lifecycle", "reconciliation", "problems", "notifications", "remote", "admin", "api"),
    },
    "providers": {"contract", "accounts", "audit", "dashboard", "rest", "db", "sandbox"},
}


def python_files() -> list[Path]:
    """Return all hand-written Python files of the project."""
    files = [file for folder in (*APPS, "tests") for file in sorted((ROOT / folder).rglob("*.py"))]
    return [file for file in files if "migrations" not in file.parts]


def is_source(file: Path) -> bool:
    parts = file.relative_to(ROOT).parts
    return parts[0] in APPS and "tests" not in parts


def length(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


def test_no_file_is_long() -> None:
    assert {str(file.relative_to(ROOT)): length(file) for file in python_files() if length(file) > MAX_LINES} == {}


def test_most_source_files_are_short() -> None:
    lengths = [length(file) for file in python_files() if is_source(file) and file.name != "__init__.py"]
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


def test_no_module_has_a_vague_name() -> None:
    assert [str(file) for file in python_files() if is_source(file) and file.stem in VAGUE_NAMES] == []


@pytest.mark.parametrize("app", APPS)
def test_every_package_exists_and_has_a_docstring(app: str) -> None:
    for package in PACKAGES[app]:
        init = ROOT / app / package / "__init__.py"
        assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), f"{app}/{package}/__init__.py has no docstring"


@pytest.mark.slow
def test_private_names_stay_in_their_module() -> None:
    imported = [
        f"{file.relative_to(ROOT)}: {alias.name} of {node.module}"
        for file in python_files()
        if is_source(file)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in APPS
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert imported == []
