"""The login: throttled by name and address, recorded, and cheap for everybody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from config.models import FailedLogins
from config.web import login, login_throttle
from config.web.login_throttle import FREE_BY_ADDRESS, FREE_BY_NAME, MAX_PAUSE, Throttle
from providers.models import HistoryEntry

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def ann(db: None) -> User:
    return User.objects.create_superuser("ann", password=PASSWORD)


def attempt(username: str, password: str, address: str = "192.0.2.1") -> str:
    """Try to log in. Return `ok`, or the code of the error."""
    response = Client().post(LOGIN, {"username": username, "password": password}, REMOTE_ADDR=address)
    if response.status_code == 302:
        return "ok"
    [error] = response.context["form"].errors.as_data()["__all__"]
    return str(error.code)


def test_a_name_is_paused_after_some_failures_from_any_address(clock: time_machine.Traveller) -> None:
    for number in range(FREE_BY_NAME + 1):
        assert attempt("ann", "wrong", f"192.0.2.{number}") == "invalid_login"
    assert attempt("ann", PASSWORD, "198.51.100.9") == "throttled"
    assert attempt("Ann", "wrong", "198.51.100.9") == "throttled"
    clock.shift(login_throttle.FIRST_PAUSE + timedelta(seconds=1))
    assert attempt("ann", PASSWORD, "198.51.100.9") == "ok"
    assert attempt("ann", "wrong") == "invalid_login"


def test_an_address_is_paused_after_failures_with_any_name(clock: time_machine.Traveller) -> None:
    for number in range(FREE_BY_ADDRESS + 1):
        assert attempt(f"user{number}", "wrong", "192.0.2.1") == "invalid_login"
    assert attempt("ann", PASSWORD, "192.0.2.1") == "throttled"
    assert attempt("ann", PASSWORD, "192.0.2.2") == "ok"
    clock.shift(login_throttle.FIRST_PAUSE + timedelta(seconds=1))
    assert attempt("ann", PASSWORD, "192.0.2.1") == "ok"
    assert attempt("other", "wrong", "192.0.2.1") == "invalid_login"
    assert attempt("ann", PASSWORD, "192.0.2.1") == "throttled", "one's own login does not end the pause"


def test_the_addresses_of_one_ipv6_network_count_together() -> None:
    for number in range(FREE_BY_ADDRESS + 1):
        Throttle(f"user{number}", f"2001:db8::{number:x}").record_failure()
    assert Throttle("ann", "2001:db8::ffff").seconds_left()
    assert not Throttle("ann", "2001:db8:0:1::1").seconds_left()


def test_pauses_grow_up_to_a_limit_and_are_forgotten(clock: time_machine.Traveller) -> None:
    throttle, pauses = Throttle("ann", ""), []
    for _ in range(20):
        throttle.record_failure()
        pauses.append(throttle.seconds_left())
        clock.shift(MAX_PAUSE + timedelta(seconds=1))
    assert pauses[: FREE_BY_NAME + 4] == [0] * FREE_BY_NAME + [3, 5, 9, 17]
    assert pauses[-1] == MAX_PAUSE.total_seconds() + 1
    clock.shift(login_throttle.FORGET_AFTER + timedelta(seconds=1))
    throttle.record_failure()
    assert throttle.seconds_left() == 0
    assert FailedLogins.objects.count() == 2


def test_a_clock_that_was_set_back_locks_nobody_out(clock: time_machine.Traveller) -> None:
    clock.shift(timedelta(days=400))
    for _ in range(FREE_BY_NAME + 8):
        Throttle("ann", "192.0.2.1").record_failure()
    clock.shift(-timedelta(days=400))
    assert attempt("ann", PASSWORD) == "ok"


def test_no_password_is_hashed_while_a_login_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    FailedLogins.objects.all().delete()
    for _ in range(FREE_BY_NAME + 5):
        Throttle("ann", "").record_failure()

    def check(*_: object, **__: object) -> None:
        raise AssertionError("a password was checked")

    monkeypatch.setattr("django.contrib.auth.forms.authenticate", check)
    assert attempt("ann", PASSWORD) == "throttled"


def test_at_most_two_passwords_are_checked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "WAIT_SECONDS", 0.01)
    slots = login.password_slots
    for _ in range(login.MAX_HASHES):
        assert slots.acquire(blocking=False)
    try:
        assert attempt("ann", PASSWORD) == "busy"
    finally:
        for _ in range(login.MAX_HASHES):
            slots.release()
    assert attempt("ann", PASSWORD) == "ok"


def test_successes_and_failures_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="config.web.login")
    attempt("ann", "wrong")
    attempt("my-password-in-the-wrong-field", "x")
    attempt("ann", PASSWORD)
    entries = [(row.actor, row.action, row.subject_name) for row in HistoryEntry.objects.order_by("pk")]
    assert entries == [("anonymous", "failed to log in", "ann"), ("staff:ann", "logged in", "ann")]
    assert HistoryEntry.objects.latest("pk").changes == [{"field": "address", "from": None, "to": "192.0.2.1"}]
    assert [record.levelname for record in caplog.records if record.name == "config.web.login"] == [
        *["WARNING"] * 2, "INFO",
    ]  # fmt: skip
    assert "my-password" not in caplog.text
