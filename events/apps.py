"""The events app."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """Its label is `events`."""

    name = "events"
    label = "events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers a lookup, and the sources of problems."""
        import_module("events.storage.lookups")
        import_module("events.monitoring.problem_checks")
        import_module("events.monitoring.silence")
