"""The page that compares the capabilities of all providers, generated from the plug-ins."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from providers.contract.capability_table import rows
from providers.contract.registry import all_providers


def provider_page(request: HttpRequest) -> HttpResponse:
    """Show the capability table. Every staff user may see it: it contains no data of this installation."""
    providers = list(all_providers().values())
    names = [provider.name for provider in providers]
    context = {
        **admin.site.each_context(request),
        "title": "Providers",
        "page_title": "Providers",
        "intro": "Capabilities, unconfirmed facts, and manual registration, for each provider.",
        "providers": providers,
        "rows": [
            {"capability": row.capability, "values": list(zip(names, row.values, strict=True))}
            for row in rows(providers)
        ],
    }
    return TemplateResponse(request, "providers/table.html", context)
