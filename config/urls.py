"""The whole URL surface, on one page."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from config import health
from events.receiver import HookView

urlpatterns = [
    # Everything below /hooks/ is the receiver's: what is no token is answered by it, never by a redirect.
    re_path(r"^hooks/(?P<token>(?s:.*?))/?\Z", HookView.as_view(), name="hook"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
]
