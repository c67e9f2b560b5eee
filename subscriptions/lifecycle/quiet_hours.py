"""How long a subscription may be quiet before that is strange: a time that people expect, in which nights and weekends
may not count. Pure: no clock, no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from providers.times import hour_and_minute

SHORTEST, LONGEST = 300, 366 * 86400  # seconds that may be expected
MOST_DAYS = 1500  # that are walked to find the moment; what takes longer never comes
SATURDAY = 5
KEYS = frozenset({"time_zone", "from", "until", "weekends"})


class NotUnderstood(ValueError):
    """The quiet hours make no sense; the message says which part, and why."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When silence is normal: every day from `start` until `until` (over midnight where that is earlier), and on
    Saturdays and Sundays; by the clocks of `zone`, summer time included."""

    zone: ZoneInfo
    start: time | None
    until: time | None
    weekends: bool

    def as_json(self) -> dict[str, object]:
        """As it is stored and shown."""
        return {
            "time_zone": self.zone.key,
            "from": hour_and_minute(self.start),
            "until": hour_and_minute(self.until),
            "weekends": self.weekends,
        }


def read(value: object) -> QuietHours:
    """Checks what was sent or stored. Raises NotUnderstood."""
    if not isinstance(value, Mapping):
        raise NotUnderstood("Give an object with time_zone, from, until and weekends.")
    unknown = sorted(str(key) for key in set(value) - KEYS)
    if unknown:
        raise NotUnderstood(f"There is no {', '.join(unknown)} in quiet hours.")
    start, until = _clock(value, "from"), _clock(value, "until")
    weekends = value.get("weekends", False)
    if not isinstance(weekends, bool):
        raise NotUnderstood("weekends: give true or false.")
    if (start is None) != (until is None):
        raise NotUnderstood("from and until belong together.")
    if start is not None and start == until:
        raise NotUnderstood("from and until are the same: no time of the day would count.")
    if start is None and not weekends:
        raise NotUnderstood("Give from and until, or weekends, or no quiet hours at all.")
    return QuietHours(_zone(value.get("time_zone", "UTC")), start, until, weekends)


def counted(since: datetime, until: datetime, hours: QuietHours | None) -> timedelta:
    """How much of this time counts."""
    if hours is None:
        return until - since
    total = timedelta(0)
    for begin, end in _counting(since, hours):
        if begin >= until:
            break
        total += min(end, until) - begin
    return total


def due_at(since: datetime, seconds: int, hours: QuietHours | None) -> datetime | None:
    """When so many counting seconds have passed since then; None when that takes for years."""
    left = timedelta(seconds=seconds)
    if hours is None:
        return since + left
    for begin, end in _counting(since, hours):
        if end - begin >= left:
            return begin + left
        left -= end - begin
    return None


def _counting(since: datetime, hours: QuietHours) -> Iterator[tuple[datetime, datetime]]:
    """The spans that count, from then on, in UTC."""
    day = since.astimezone(hours.zone).date()
    for _ in range(MOST_DAYS):
        for begin, end in _counting_of(day, hours):
            if end > since:
                yield max(begin, since), end
        day += timedelta(days=1)


def _counting_of(day: date, hours: QuietHours) -> list[tuple[datetime, datetime]]:
    if hours.weekends and day.weekday() >= SATURDAY:
        return []
    midnight, next_midnight = _moment(day, time(), hours), _moment(day + timedelta(days=1), time(), hours)
    if hours.start is None or hours.until is None:
        return [(midnight, next_midnight)]
    start, until = _moment(day, hours.start, hours), _moment(day, hours.until, hours)
    spans = [(until, start)] if hours.until < hours.start else [(midnight, start), (until, next_midnight)]
    return [(begin, end) for begin, end in spans if begin < end]


def _moment(day: date, clock: time, hours: QuietHours) -> datetime:
    """A local time in UTC; one that a change of the clocks leaves out is taken as if they had not changed yet."""
    return datetime.combine(day, clock, hours.zone).astimezone(UTC)


def _clock(value: Mapping[str, object], name: str) -> time | None:
    text = value.get(name)
    if text is None:
        return None
    try:
        return datetime.strptime(str(text), "%H:%M").time()  # noqa: DTZ007  # a time of the day, in no zone yet
    except ValueError:
        raise NotUnderstood(f"{name}: give a time of the day such as 22:00.") from None


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotUnderstood("time_zone: give a name such as Europe/Berlin.") from None
