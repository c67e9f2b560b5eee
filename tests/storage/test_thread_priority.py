"""Scheduling of the threads of a process that receives."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from events.storage import thread_priority


def run_in_thread(target: Callable[..., None], *arguments: object) -> None:
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    thread.join(20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these policies")
def test_lower_priority_is_inherited_and_can_be_restored() -> None:
    policies: dict[str, int] = {}

    def child(name: str, prepare: Callable[[], None]) -> None:
        prepare()
        policies[name] = os.sched_getscheduler(0)

    def parent() -> None:
        thread_priority.lower_wakeup_priority()
        run_in_thread(child, "receives", lambda: None)
        run_in_thread(child, "writes", thread_priority.restore_wakeup_priority)

    run_in_thread(parent)
    assert policies == {"receives": os.SCHED_BATCH, "writes": os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_switch_interval_is_shortened() -> None:
    before = sys.getswitchinterval()
    try:
        thread_priority.shorten_switch_interval()
        assert sys.getswitchinterval() == pytest.approx(thread_priority.SWITCH_INTERVAL_SECONDS)
    finally:
        sys.setswitchinterval(before)


def test_forbidden_policy_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", forbid)
    thread_priority.lower_wakeup_priority()
    thread_priority.restore_wakeup_priority()
