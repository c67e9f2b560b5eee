"""A process in which nothing runs any more ends, so that it is started anew; one that runs does not."""

from __future__ import annotations

import signal

import pytest

from tests.processes import run_python

GUARDED = """
import re, sys, time
from config import frozen
frozen.FROZEN, frozen.EVERY = 1.0, 0.1
frozen.guard.start()
time.sleep(2)
print("lives", flush=True)
"""
FREEZES = "def holds_the_lock(): re.match(r'(a+)+$', 'a' * 60 + 'b')\nholds_the_lock()"
FORKS = """
import os, signal
if child := os.fork():
    os.kill(os.getpid(), os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("where", ["", FORKS], ids=["itself", "a forked one"])
def test_a_process_that_is_frozen_ends_and_tells_where_it_was(db: None, where: str) -> None:
    ended = run_python(GUARDED + where + FREEZES)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGALRM, ["lives"])
    assert "holds_the_lock" in ended.stderr


def test_a_process_that_waits_is_left_alone(db: None) -> None:
    ended = run_python(GUARDED + "time.sleep(2)")
    assert ended.returncode == 0, ended.stderr
