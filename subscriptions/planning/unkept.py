"""Changes that a provider accepts and does not keep. Sending them again and again would help nobody."""

from __future__ import annotations

from collections.abc import Sequence

from providers.digests import json_digest
from subscriptions.planning.steps import Change

MAX_ACCEPTED = 3  # times in a row that the same changes are sent


def changes_digest(changes: Sequence[Change]) -> str:
    """Return a digest of changes: two are the same if they turn the same values into the same values."""
    return json_digest([[change.field, change.before, change.after] for change in changes])


def unkept_text(changes: Sequence[Change]) -> str:
    """Return the sentence about changes that the provider does not keep."""
    fields = ", ".join(change.field.replace("_", " ") for change in changes)
    return (
        f"The provider accepted a change of {fields} {MAX_ACCEPTED} times and does not keep it, so it is sent no more. "
        "Enter what the provider shows, or reconcile it to try again."
    )
