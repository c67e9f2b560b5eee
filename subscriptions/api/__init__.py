"""The REST API of accounts, subscriptions, operations, problems and notification channels."""
