"""The checks that find problems of subscriptions, accounts and the installation. Importing them registers them."""

from subscriptions.problems.checks import accounts, installation, leases, subscriptions

__all__ = ["accounts", "installation", "leases", "subscriptions"]
