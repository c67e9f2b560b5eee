"""The subscriptions app."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    """The app configuration; the label is `subscriptions`."""

    name = "subscriptions"
    label = "subscriptions"
    verbose_name = "Subscriptions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the problem checks."""
        import_module("subscriptions.problems.checks")
