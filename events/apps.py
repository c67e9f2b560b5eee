"""Configuration of the events app."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """The configuration of the app `events`."""

    name = "events"
    label = "events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register a lookup, the problem checks and the timeline of silences."""
        import_module("events.storage.lookups")
        import_module("events.monitoring.problem_checks")
        import_module("events.monitoring.silence_timeline")
