"""A problem check under the control of a test, and its fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from subscriptions.models import ProblemKind, Severity
from subscriptions.problems import registry
from subscriptions.problems.registry import INSTALLATION, Cause, Source

CLONE, SILENT = ProblemKind.CLONE, ProblemKind.SILENT


class FakeCheck:
    """A problem check that reports the causes, or raises the error, that a test sets."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self.error: Exception | None = None

    def find(self, now: datetime) -> Iterator[Cause]:
        if self.error:
            raise self.error
        yield from self.causes

    def report(self, *, kind: ProblemKind = CLONE, **changes: object) -> None:
        values: dict[str, object] = {"severity": Severity.WARNING, "message": "It is a copy.", **changes}
        self.causes = [Cause(kind=kind, subject=INSTALLATION, **values)]  # type: ignore[arg-type]

    def clear(self) -> None:
        self.causes = []


@pytest.fixture
def fake_check(db: None, monkeypatch: pytest.MonkeyPatch) -> FakeCheck:
    """Replace all checks by one for two kinds of problem."""
    check = FakeCheck()
    monkeypatch.setattr(registry, "_sources", {"tests": Source(check.find, frozenset({CLONE, SILENT}))})
    return check


@pytest.fixture
def committed_fake_check(transactional_db: None, fake_check: FakeCheck) -> FakeCheck:
    return fake_check
