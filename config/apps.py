"""The house itself as a Django app: it brings the commands, and Celery's app before any task is defined."""

from __future__ import annotations

from django.apps import AppConfig

from config import celery as celery


class Config(AppConfig):
    """Settings, URLs, schedule, commands."""

    name = "config"
    label = "config"
    verbose_name = "Hookkeeper"
