"""The sandbox accounts that `make run` shows: one per simulated provider, subscribed to everything."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

DEMO = "demo"
