"""All pages, files, commands, settings, URLs, metrics and images that the documentation names exist."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from config.models import Scope
from config.monitoring import problem_monitor
from config.supervisor import supervisor
from config.web import granian, receiver_entry
from events.models import Outcome
from events.monitoring import silence
from events.processing import poison_requests
from events.receiver import group_commit, pending_write, spool_drain
from events.receiver.spool import file as spool_file
from events.retention import purge, rejected
from events.storage import body
from providers.accounts import circuit_breaker, rate_limiter
from providers.contract.call_limits import Priority
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import ProblemKind
from subscriptions.problems import detector
from subscriptions.problems.checks import leases
from subscriptions.reconciliation import observed_state

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "providers/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MAX_LINE = 120
OWN_APPS = ("config", "events", "subscriptions", "providers")
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:config|events|subscriptions|providers|tests|docs|templates)(?:/[\w.-]+)+/?")
SETTING = re.compile(r"environment\.\w+\(\s*\"([A-Z_]+)\"")
CALL = re.compile(r"(?:GET|POST|PATCH|DELETE) (/[\w{}/.-]*)")


def minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:g}"


def text_of(file: Path) -> str:
    return file.read_text("utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(params=PAGES, ids=name_of)
def document(request: pytest.FixtureRequest) -> Path:
    result: Path = request.param
    return result


def test_links_lead_to_pages_and_headings(document: Path) -> None:
    for target in LINK.findall(text_of(document)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


def test_files_exist(document: Path) -> None:
    for code in CODE.findall(text_of(document)):
        for path in PATH.findall(code):
            if PATH.fullmatch(code) and "<" not in code:
                assert (ROOT / path).exists(), path


def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for code in (*CODE.findall(text_of(document)), *re.findall(r"^    (make .*)$", text_of(document), re.MULTILINE)):
        if code.startswith("make ") and "PYTHON=" not in code:
            arguments = shlex.split(code.partition("#")[0])[1:]
            assert {
                argument for argument in arguments if "=" not in argument and not argument.startswith("-")
            } <= targets, code


def test_management_commands_and_their_options_exist(document: Path) -> None:
    commands = get_commands()
    for code in CODE.findall(text_of(document)):
        match = re.match(r"(?:\S*python )?manage\.py (\w+)(.*)", code)
        if match is None:
            continue
        name, rest = match.groups()
        assert name in commands, code
        parser = load_command_class(str(commands[name]), name).create_parser("manage.py", name)
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in parser.format_help(), code


def test_every_command_is_documented() -> None:
    reference = text_of(ROOT / "docs" / "reference" / "commands.md")
    for name, app in get_commands().items():
        if app in OWN_APPS:
            assert f"`{name}" in reference, name
    phony = re.search(r"^\.PHONY: (.*)$", text_of(ROOT / "Makefile"), re.MULTILINE)
    assert phony is not None
    for target in phony[1].split():
        if not target.startswith("venv") and target not in ("lint", "types", "migrations"):
            assert f"`make {target}`" in reference, target


def test_settings_are_documented_and_exist() -> None:
    read = set(SETTING.findall(text_of(ROOT / "config" / "settings.py"))) | {"DATA_DIR", "ENV_FILE"}
    rows = re.findall(r"^(?:\| |- \*\*)(`.*)$", text_of(ROOT / "docs" / "reference" / "settings.md"), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[0])}
    assert documented == read


@cache
def api_paths() -> set[str]:
    """Return the paths of the API, with `{}` for each parameter. Lines are read, because parsing takes a second."""
    paths = re.findall(r"^  (/api/v1/\S*):$", text_of(ROOT / "docs" / "openapi.yaml"), re.MULTILINE)
    return {re.sub(r"{\w+}", "{}", path) for path in paths}


@pytest.mark.slow
def test_api_calls_exist(document: Path) -> None:
    known = api_paths()
    assert known
    for code in CODE.findall(text_of(document)):
        for call in CALL.findall(code):
            path = re.sub(r"{\w+}|<\w+>", "{}", call.removeprefix("/api/v1"))
            if path.startswith("/_sandbox") or call.endswith("."):
                continue
            assert f"/api/v1{path.partition('?')[0]}" in known, code


@pytest.mark.parametrize("path", ["/", "/admin/", "/hooks/token", "/api/v1/events/", "/api/docs/", "/api/schema/"])
def test_urls_exist(path: str) -> None:
    assert f"`{path.replace('token', '<token>').removesuffix('events/')}`" in text_of(
        ROOT / "docs" / "reference" / "urls.md"
    )
    try:
        resolve(path)
    except Resolver404 as error:  # pragma: no cover
        pytest.fail(str(error))


def test_metrics_exist(document: Path) -> None:
    sources = "".join(text_of(file) for file in (ROOT / "config" / "monitoring").glob("*.py"))
    for name in re.findall(r"hookkeeper_([a-z_]+)", text_of(document)):
        stem = name.removesuffix("_total")
        assert any(part in sources for part in (stem, *(stem.split("_", 1)[1:] or [stem]))), name


def test_the_references_list_every_problem_kind_and_outcome() -> None:
    problems = text_of(ROOT / "docs" / "reference" / "problems.md")
    assert set(re.findall(r"^(?:\| |- \*\*)`([a-z_]+)`", problems, re.MULTILINE)) == set(ProblemKind.values)
    responses = text_of(ROOT / "docs" / "reference" / "receiver-responses.md")
    assert set(re.findall(r"^(?:\| |- \*\*)`([a-z]+)`", responses, re.MULTILINE)) == set(Outcome.values)
    assert "subscriptions:read" in Scope.values


def test_lines_are_short(document: Path) -> None:
    if name_of(document) == "docs/providers.md":  # generated, with one wide table
        return
    assert [line for line in text_of(document).splitlines() if len(line) > MAX_LINE] == []


def test_every_page_is_in_the_index() -> None:
    index = text_of(ROOT / "docs" / "README.md")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            assert f"]({page.relative_to(ROOT / 'docs')})" in index, page


def test_screenshots_are_used_and_exist() -> None:
    used = {Path(target).name for page in PAGES for target in LINK.findall(text_of(page)) if target.endswith(".png")}
    assert used <= {file.name for file in (ROOT / "docs" / "screenshots").iterdir()}


MIB = 1024 * 1024
FIGURES = {
    "architecture.md": (f"up to {supervisor.MAX_PAUSE_SECONDS:g} seconds",),
    "how-to/deploy.md": (
        f"--blocking-threads {granian.THREADS} ",
        f"--http1-header-read-timeout {granian.HEADER_SECONDS * 1000} --http1-buffer-size {granian.HEADER_BYTES} ",
    ),
    "how-to/detect-silence.md": (f"waits {minutes(silence.ARRIVAL_WAIT)} minutes",),
    "how-to/rotate-a-secret.md": ("last three old secrets", "After a week"),
    "how-to/retention.md": (f"newest {rejected.MAX_REQUESTS}", "**twice** the retention", "every ten minutes"),
    "lifecycle.md": (
        f"more than {observed_state.MAX_SUSPENSIONS} times in a day",
        f"up to {observed_state.MAX_PAUSE_SECONDS / 3600:g} hours",
        f"enabled for {minutes(observed_state.HEALTHY_AFTER)} minutes",
        f"syncs get {rate_limiter.DAY_QUOTA_SHARE[Priority.SYNC]:.0%}".replace("%", " %"),
        f"changes {rate_limiter.DAY_QUOTA_SHARE[Priority.CHANGE]:.0%}".replace("%", " %"),
        f"After {circuit_breaker.MAX_FAILURES} failures in a row",
    ),
    "receiver.md": (
        f"More than {group_commit.MAX_WAITING_ROWS:,} waiting requests, or {group_commit.MAX_WAITING_BYTES // MIB} MiB",
        f"Once {group_commit.BATCH_ROWS} requests or {group_commit.BATCH_BYTES // MIB} MiB wait",
        f"{spool_file.RESERVED_BYTES // MIB} MiB are reserved",
        f"A file ends at {spool_file.MAX_FILE_BYTES // MIB} MiB",
        f"failed {spool_drain.MAX_TRIES} times",
        f"at most {receiver_entry.MAX_OTHER_REQUESTS} of the {granian.THREADS} threads",
        f"At most {body.MAX_CONCURRENT_BODIES} of the {granian.THREADS} threads wait for bodies",
        f"at most {granian.HEADER_BYTES // 1024} KiB of headers",
        f"longer than {group_commit.OVERLAP_MIN_SECONDS * 1000:g} milliseconds",
        f"Up to {body.DISCARDED_BYTES // MIB} MiB more is read first",
    ),
    "reference/problems.md": (
        f"after {minutes(detector.REOPEN_GRACE)} minutes",
        f"with {leases.CRITICAL_BELOW:.0%}".replace("%", " %"),
        f"for {problem_monitor.TAKE_OVER_AFTER.total_seconds():g} seconds",
    ),
    "reference/receiver-responses.md": (
        f"the first {body.TRUNCATED_BODY_BYTES // 1024} KiB",
        f"the newest {rejected.MAX_REQUESTS} rejected requests that failed",
        f"at most {rejected.MAX_BYTES // MIB} MiB, for {rejected.MAX_AGE.days} days",
        "quarantined after three attempts",
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_the_code(name: str) -> None:
    text = " ".join(text_of(ROOT / "docs" / name).split())
    assert [figure for figure in FIGURES[name] if figure not in text] == []


def test_figures_in_words_are_those_of_the_code() -> None:
    assert secret_rotation.MAX_FORMER_SECRETS == poison_requests.MAX_ATTEMPTS == 3
    assert secret_rotation.OVERDUE_AFTER.days == 7
    assert purge.QUARANTINE_FACTOR == 2
    assert minutes(purge.PURGE_INTERVAL) == "10"
    assert pending_write.WAIT_SECONDS == 2  # "The first requests wait two seconds for a hanging database"


def test_the_lifecycle_tests_of_make_soak_exist() -> None:
    names = re.search(r"LIFECYCLE_TESTS := \$\(addprefix (\S+),([^)]*)\)", text_of(ROOT / "Makefile"))
    assert names is not None
    for name in names[2].replace("\\", "").split():
        assert (ROOT / f"{names[1]}{name}").exists(), name
