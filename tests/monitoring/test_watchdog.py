"""A process in which nothing runs any more ends, so that it is started anew; one that runs does not."""

from __future__ import annotations

import signal

import pytest

from tests.harness.processes import run_python

GUARDED = """
import re, sys, time
from config import frozen
frozen.FROZEN, frozen.EVERY = 2.0, 0.1
frozen.guard.start()
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
# What Python throws away at last, when no other thread runs any more.
ENDS_SLOWLY = """
class Slow:
    def __del__(self, wait=time.sleep, say=print):
        wait(3)
        say("ends", flush=True)
kept = Slow()
"""


@pytest.mark.parametrize("where", ["", FORKS], ids=["itself", "a forked one"])
def test_a_process_that_is_frozen_ends_and_tells_where_it_was(db: None, where: str) -> None:
    ended = run_python(GUARDED + where + FREEZES)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGALRM, ["lives"])
    assert "holds_the_lock" in ended.stderr


def test_a_process_that_waits_is_left_alone(db: None) -> None:
    ended = run_python(GUARDED)
    assert (ended.returncode, ended.stdout.split()) == (0, ["lives"]), ended.stderr


@pytest.mark.parametrize("where", ["", FORKS_AND_EXITS], ids=["itself", "a forked one"])
def test_a_process_that_takes_its_time_to_end_is_left_alone(db: None, where: str) -> None:
    ended = run_python(GUARDED + where + ENDS_SLOWLY)
    assert (ended.returncode, ended.stdout.split()) == (0, ["lives", "ends"]), ended.stderr
