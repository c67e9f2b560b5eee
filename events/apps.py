"""Configuration of the events app."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """Registers the lookup and the problem checks at startup."""

    name = "events"
    label = "events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the modules that register a lookup or problem checks."""
        import_module("events.storage.lookups")
        import_module("events.monitoring.problem_checks")
        import_module("events.monitoring.silence")
