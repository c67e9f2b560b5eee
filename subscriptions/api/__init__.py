"""The REST API of accounts, subscriptions and operations."""
