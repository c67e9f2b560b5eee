"""Who brings a change about, as operations, the history and the timeline name it.

An actor is `staff:<user>`, `api:<token>`, `command:<name>`, `demo`, or `SCHEDULER` for what the scheduled jobs do.
"""

from __future__ import annotations

SCHEDULER = "clock"  # stored and shown by the REST API under this value
