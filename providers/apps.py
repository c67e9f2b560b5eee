"""The providers app."""

from __future__ import annotations

from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """The app configuration; the label is `providers`."""

    name = "providers"
    label = "providers"
    verbose_name = "Accounts"
    default_auto_field = "django.db.models.BigAutoField"
