"""The actors of changes, as operations, the audit trail and the timeline record them.

An actor is `staff:<user>`, `api:<token>`, `command:<name>`, `demo`, or `SCHEDULER` for what the scheduled jobs do.
A failed login has the actor `anonymous`.
"""

from __future__ import annotations

SCHEDULER = "clock"  # stored and shown by the REST API under this value
