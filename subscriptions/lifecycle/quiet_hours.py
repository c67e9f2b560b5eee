"""The hours in which a subscription's silence is not counted, such as nights and weekends.

Pure functions: they read neither the clock nor the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from providers.times import hour_and_minute

MIN_QUIET_SECONDS, MAX_QUIET_SECONDS = 300, 366 * 86400  # bounds of `quiet_after`
MAX_DAYS_SEARCHED = 1500  # to find the time at which a subscription counts as silent
SATURDAY = 5
KEYS = frozenset({"time_zone", "from", "until", "weekends"})


class InvalidQuietHours(ValueError):
    """The quiet hours are invalid. The message names the part and says why."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When silence is not counted: daily from `start` until `until` (the next day if that is earlier), and on weekends.

    Times are local times of `zone`, including daylight saving time.
    """

    zone: ZoneInfo
    start: time | None
    until: time | None
    weekends: bool

    def as_json(self) -> dict[str, object]:
        """Return the value that is stored and shown."""
        return {
            "time_zone": self.zone.key,
            "from": hour_and_minute(self.start),
            "until": hour_and_minute(self.until),
            "weekends": self.weekends,
        }


def parse_quiet_hours(value: object) -> QuietHours:
    """Parse the JSON value that was sent or stored. Raises InvalidQuietHours."""
    if not isinstance(value, Mapping):
        raise InvalidQuietHours("Expected an object with time_zone, from, until and weekends.")
    unknown = sorted(str(key) for key in set(value) - KEYS)
    if unknown:
        raise InvalidQuietHours(f"Unknown field: {', '.join(unknown)}.")
    start, until = _parse_time_of_day(value, "from"), _parse_time_of_day(value, "until")
    weekends = value.get("weekends", False)
    if not isinstance(weekends, bool):
        raise InvalidQuietHours("weekends: expected true or false.")
    if (start is None) != (until is None):
        raise InvalidQuietHours("from and until must be given together.")
    if start is not None and start == until:
        raise InvalidQuietHours("from and until must differ: otherwise no time of the day is counted.")
    if start is None and not weekends:
        raise InvalidQuietHours("Give from and until, or weekends, or omit the quiet hours.")
    return QuietHours(_parse_time_zone(value.get("time_zone", "UTC")), start, until, weekends)


def counted_time(since: datetime, until: datetime, hours: QuietHours | None) -> timedelta:
    """Return how much of the time between two moments is counted."""
    if hours is None:
        return until - since
    total = timedelta(0)
    for begin, end in _counted_spans(since, hours):
        if begin >= until:
            break
        total += min(end, until) - begin
    return total


def due_at(since: datetime, seconds: int, hours: QuietHours | None) -> datetime | None:
    """Return when `seconds` of counted time have passed, or None if that takes longer than four years."""
    left = timedelta(seconds=seconds)
    if hours is None:
        return since + left
    for begin, end in _counted_spans(since, hours):
        if end - begin >= left:
            return begin + left
        left -= end - begin
    return None


def _counted_spans(since: datetime, hours: QuietHours) -> Iterator[tuple[datetime, datetime]]:
    """Yield the counted spans from a moment on, in UTC."""
    day = since.astimezone(hours.zone).date()
    for _ in range(MAX_DAYS_SEARCHED):
        for begin, end in _counted_spans_of_day(day, hours):
            if end > since:
                yield max(begin, since), end
        day += timedelta(days=1)


def _counted_spans_of_day(day: date, hours: QuietHours) -> list[tuple[datetime, datetime]]:
    if hours.weekends and day.weekday() >= SATURDAY:
        return []
    midnight, next_midnight = _to_utc(day, time(), hours), _to_utc(day + timedelta(days=1), time(), hours)
    if hours.start is None or hours.until is None:
        return [(midnight, next_midnight)]
    start, until = _to_utc(day, hours.start, hours), _to_utc(day, hours.until, hours)
    spans = [(until, start)] if hours.until < hours.start else [(midnight, start), (until, next_midnight)]
    return [(begin, end) for begin, end in spans if begin < end]


def _to_utc(day: date, clock: time, hours: QuietHours) -> datetime:
    """Convert a local time to UTC. A time that daylight saving skips is read as if the clocks had not changed yet."""
    return datetime.combine(day, clock, hours.zone).astimezone(UTC)


def _parse_time_of_day(value: Mapping[str, object], name: str) -> time | None:
    text = value.get(name)
    if text is None:
        return None
    try:
        return datetime.strptime(str(text), "%H:%M").time()  # noqa: DTZ007  # a time of day without a zone
    except ValueError:
        raise InvalidQuietHours(f"{name}: expected a time of day such as 22:00.") from None


def _parse_time_zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidQuietHours("time_zone: expected a name such as Europe/Berlin.") from None
