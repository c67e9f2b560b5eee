"""The project as a Django app: it provides commands, and loads Celery's app before any task is defined."""

from __future__ import annotations

from django.apps import AppConfig

from config import celery as celery


class Config(AppConfig):
    """The app of settings, URLs, schedule and commands."""

    name = "config"
    label = "config"
    verbose_name = "Hookkeeper"
