"""Quiet hours: which time is counted, in local time and across daylight saving changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subscriptions.lifecycle import quiet_hours
from subscriptions.lifecycle.quiet_hours import InvalidQuietHours, QuietHours, counted_time, due_at

BERLIN = "Europe/Berlin"


def hours(start: str | None = None, until: str | None = None, *, weekends: bool = False) -> QuietHours:
    return quiet_hours.parse_quiet_hours({"time_zone": BERLIN, "from": start, "until": until, "weekends": weekends})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_without_quiet_hours_all_time_is_counted() -> None:
    assert counted_time(at("2026-03-01 00:00"), at("2026-03-03 12:00"), None) == timedelta(hours=60)
    assert due_at(at("2026-03-01 00:00"), 3600, None) == at("2026-03-01 01:00")


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-01-12 12:00", "2026-01-12 14:00"),  # Monday during the day: 13:00 in Berlin
        ("2026-01-12 20:00", "2026-01-13 06:00"),  # one hour until 22:00, the other one from 6:00 on
        ("2026-01-12 22:00", "2026-01-13 07:00"),  # within the night: both hours from 6:00 on
        ("2026-01-13 02:00", "2026-01-13 07:00"),
        ("2026-01-12 21:00", "2026-01-13 07:00"),  # exactly at the start of the night
        ("2026-01-12 19:00", "2026-01-12 21:00"),  # ends exactly at the start of the night
    ],
)
def test_nights_are_not_counted(since: str, expected: str) -> None:
    assert due_at(at(since), 2 * 3600, hours("22:00", "06:00")) == at(expected)


def test_hours_within_a_day_are_not_counted() -> None:
    assert due_at(at("2026-01-12 10:30"), 3600, hours("12:00", "13:00")) == at("2026-01-12 12:30")


def test_weekends_are_not_counted() -> None:
    # Friday, 22:00 in Berlin, until Monday, 1:00.
    assert due_at(at("2026-01-16 21:00"), 3 * 3600, hours(weekends=True)) == at("2026-01-19 00:00")
    assert counted_time(at("2026-01-17 00:00"), at("2026-01-18 22:00"), hours(weekends=True)) == timedelta(0)
    assert counted_time(at("2026-01-12 00:00"), at("2026-01-19 00:00"), hours(weekends=True)) == timedelta(days=5)


def test_the_night_when_daylight_saving_starts() -> None:
    # On 29 March 2026 Berlin's clocks jump from 2:00 to 3:00, at 1:00 UTC: the night is an hour shorter.
    night = hours("22:00", "06:00")
    assert counted_time(at("2026-03-28 21:00"), at("2026-03-29 04:00"), night) == timedelta(0)
    assert due_at(at("2026-03-28 20:30"), 3600, night) == at("2026-03-29 04:30")
    # Quiet hours that begin within the hour that does not exist.
    assert counted_time(at("2026-03-28 23:00"), at("2026-03-29 10:00"), hours("02:30", "04:00")) == timedelta(
        hours=10, minutes=30
    )


def test_the_night_when_daylight_saving_ends() -> None:
    # On 25 October 2026 they go back from 3:00 to 2:00, at 1:00 UTC: the night is an hour longer.
    night = hours("22:00", "06:00")
    assert counted_time(at("2026-10-24 20:00"), at("2026-10-25 05:00"), night) == timedelta(0)
    assert due_at(at("2026-10-24 19:30"), 3600, night) == at("2026-10-25 05:30")


def test_due_at_is_none_if_it_takes_years() -> None:
    assert due_at(at("2026-01-12 12:00"), quiet_hours.MAX_QUIET_SECONDS, hours("00:01", "00:00", weekends=True)) is None


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.integers(0, 330 * 1440).map(lambda minutes: at("2026-01-01 00:00") + timedelta(minutes=minutes)),
    st.integers(quiet_hours.MIN_QUIET_SECONDS, 10 * 86400),
    st.times(),
    st.times(),
    st.booleans(),
)
def test_due_at_is_the_inverse_of_counted_time(
    since: datetime, seconds: int, start: Any, until: Any, free: bool
) -> None:
    start, until = start.replace(second=0, microsecond=0), until.replace(second=0, microsecond=0)
    if start == until:
        return
    rules = hours(start.strftime("%H:%M"), until.strftime("%H:%M"), weekends=free)
    due = due_at(since, seconds, rules)
    if due is None:
        return
    assert due - since >= timedelta(seconds=seconds)
    assert counted_time(since, due, rules) == timedelta(seconds=seconds)
    assert counted_time(since, due - timedelta(microseconds=1), rules) < timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "object"),
        ([], "object"),
        ({}, "from and until, or weekends"),
        ({"from": "22:00"}, "given together"),
        ({"from": "22:00", "until": "22:00"}, "must differ"),
        ({"from": "25:00", "until": "06:00"}, "from: expected a time"),
        ({"from": 22, "until": "06:00"}, "from: expected a time"),
        ({"from": "22:00", "until": "06:00", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"from": "22:00", "until": "06:00", "time_zone": "../etc/passwd"}, "time_zone"),
        ({"from": "22:00", "until": "06:00", "time_zone": None}, "time_zone"),
        ({"weekends": "yes"}, "weekends"),
        ({"weekends": True, "nights": True}, "nights"),
    ],
)
def test_invalid_quiet_hours_are_named(value: object, message: str) -> None:
    with pytest.raises(InvalidQuietHours, match=message):
        quiet_hours.parse_quiet_hours(value)


def test_quiet_hours_round_trip_through_json() -> None:
    stored = hours("22:00", "06:00", weekends=True).as_json()
    assert stored == {"time_zone": BERLIN, "from": "22:00", "until": "06:00", "weekends": True}
    assert quiet_hours.parse_quiet_hours(stored).as_json() == stored
