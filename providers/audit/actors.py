"""The actors of changes, as operations, the audit trail and the timeline record them.

An actor is `staff:<user>`, `api:<token>`, `command:<name>`, `demo`, or `SCHEDULER` for what the scheduled jobs do.
"""

from __future__ import annotations

SCHEDULER = "clock"  # stored and shown by the REST API under this value
