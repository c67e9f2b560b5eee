"""The watchdog ends a frozen process, so that it is restarted, and does not touch a running one."""

from __future__ import annotations

import signal

import pytest

from tests.harness.processes import run_python

GUARDED = """
import re, sys, time
from config.monitoring import watchdog
watchdog.FREEZE_SECONDS, watchdog.RESET_SECONDS = 2.0, 0.1
watchdog.watchdog.start()
time.sleep(3)
print("lives", flush=True)
"""
FREEZES = "def holds_the_lock(): re.match(r'(a+)+$', 'a' * 60 + 'b')\nholds_the_lock()"
FORKS = """
import os, signal
if child := os.fork():
    os.kill(os.getpid(), os.WTERMSIG(os.waitpid(child, 0)[1]))
"""

FORKS_AND_EXITS = """
import os
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
"""
# An object that Python deletes last, when no other thread runs any more.
ENDS_SLOWLY = """
class Slow:
    def __del__(self, wait=time.sleep, say=print):
        wait(3)
        say("ends", flush=True)
slow = Slow()
"""


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["", FORKS], ids=["main process", "forked process"])
def test_a_frozen_process_ends_and_logs_its_stack(db: None, fork: str) -> None:
    ended = run_python(GUARDED + fork + FREEZES)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGALRM, ["lives"])
    assert "holds_the_lock" in ended.stderr


@pytest.mark.slow
def test_a_waiting_process_is_not_ended(db: None) -> None:
    ended = run_python(GUARDED)
    assert (ended.returncode, ended.stdout.split()) == (0, ["lives"]), ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fork", ["", FORKS_AND_EXITS], ids=["main process", "forked process"])
def test_a_process_that_exits_slowly_is_not_ended(db: None, fork: str) -> None:
    ended = run_python(GUARDED + fork + ENDS_SLOWLY)
    assert (ended.returncode, ended.stdout.split()) == (0, ["lives", "ends"]), ended.stderr
