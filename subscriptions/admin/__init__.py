"""Admin pages of accounts, subscriptions, operations, problems and notification channels."""

from __future__ import annotations

from subscriptions.admin import accounts as accounts
from subscriptions.admin import channels as channels
from subscriptions.admin import operations as operations
from subscriptions.admin import problems as problems
from subscriptions.admin import subscriptions as subscriptions
