"""Replaces Django's tag `csrf_token`, so that every form also has an idempotency key."""

from __future__ import annotations

import secrets
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.web.form_once import KEY_FIELD

register = template.Library()


@register.simple_tag(takes_context=True)
def csrf_token(context: Any) -> SafeString:
    """Return the hidden fields of a form that posts: Django's token, and a key that is new for each page."""
    value = context.get("csrf_token")
    if not value or value == "NOTPROVIDED":
        return SafeString("")
    return format_html(
        '<input type="hidden" name="csrfmiddlewaretoken" value="{}"><input type="hidden" name="{}" value="{}">',
        value,
        KEY_FIELD,
        secrets.token_urlsafe(12),
    )
