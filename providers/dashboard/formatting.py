"""Times, durations, sizes and states as text for people. Machine-readable times are formatted elsewhere."""

from __future__ import annotations

from datetime import datetime

UNITS = (("d", 86400), ("h", 3600), ("min", 60))

# Tone (colour) and icon of each state. The icon makes states distinguishable without colour.
GOOD, BUSY, WARN, BAD, QUIET = "good", "busy", "warn", "bad", "quiet"
TONES: dict[str, tuple[str, str]] = {
    # subscriptions
    "active": (GOOD, "check_circle"),
    "manual": (BUSY, "back_hand"),
    "pending": (BUSY, "hourglass_top"),
    "deleting": (BUSY, "delete"),
    "disabled": (QUIET, "pause_circle"),
    "deleted": (QUIET, "delete"),
    "suspended": (WARN, "block"),
    "drifted": (WARN, "compare_arrows"),
    "expired": (BAD, "timer_off"),
    "missing": (BAD, "link_off"),
    "failing": (BAD, "error"),
    # accounts
    "ok": (GOOD, "check_circle"),
    "unchecked": (QUIET, "help"),
    # operations
    "running": (BUSY, "sync"),
    "succeeded": (GOOD, "check_circle"),
    "failed": (BAD, "error"),
    "unknown": (WARN, "help"),
    # requests
    "received": (BUSY, "hourglass_top"),
    "processed": (GOOD, "check_circle"),
    "duplicate": (QUIET, "content_copy"),
    "quarantined": (WARN, "inventory_2"),
    "rejected": (BAD, "gpp_bad"),
    "truncated": (WARN, "content_cut"),
    "ping": (QUIET, "sensors"),
    "verified": (GOOD, "verified_user"),
    "not_verifiable": (QUIET, "shield"),
    # problems and messages about them
    "open": (WARN, "report"),
    "acknowledged": (BUSY, "front_hand"),
    "resolved": (GOOD, "check_circle"),
    "opened": (WARN, "report"),
    "reopened": (WARN, "replay"),
    "more_severe": (BAD, "trending_up"),
    "info": (QUIET, "info"),
    "warning": (WARN, "warning"),
    "critical": (BAD, "error"),
    "sending": (BUSY, "hourglass_top"),
    "sent": (GOOD, "check_circle"),
    # parts of the installation
    "degraded": (WARN, "warning"),
    "unavailable": (BAD, "error"),
}


def tone_and_icon(value: str) -> tuple[str, str]:
    """Return the tone and the icon of a state; unknown states are neutral."""
    return TONES.get(value, (QUIET, "circle"))


def duration(seconds: float) -> str:
    """Return a length of time in at most two units: `42 s`, `95 s`, `3 min`, `2 h 5 min`."""
    left = max(int(seconds), 0)
    if left < 120:
        return f"{left} s"
    parts: list[str] = []
    for unit, size in UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts)


def relative(moment: datetime, now: datetime) -> str:
    """Return a time relative to now: `in 42 s`, `3 min ago`, `now`."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def until(moment: datetime, now: datetime) -> str:
    """Return a future time as `in 42 s`, or `due now` once it has passed."""
    return relative(moment, now) if moment > now else "due now"


def sentences(*parts: str) -> str:
    """Join texts into sentences. Each gets a full stop if it lacks one, as messages of providers often do."""
    return " ".join(part if part[-1] in ".!?" else f"{part}." for part in map(str.strip, parts) if part)


def size(count: int) -> str:
    """Return a number of bytes as `120 bytes`, `1.2 KiB` or `3.4 MiB`."""
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"
