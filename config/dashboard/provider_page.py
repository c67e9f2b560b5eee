"""The page that compares what the providers can do, made from the plug-ins' declarations."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from providers.contract.capability_table import rows
from providers.contract.registry import all_providers


def provider_page(request: HttpRequest) -> HttpResponse:
    """For everybody who may log in: it holds nothing of this installation."""
    providers = list(all_providers().values())
    names = [provider.name for provider in providers]
    context = {
        **admin.site.each_context(request),
        "title": "Providers",
        "page_title": "Providers",
        "intro": "What each of them lets us do, what is not confirmed about it, and how to register there by hand.",
        "providers": providers,
        "rows": [
            {"capability": row.capability, "values": list(zip(names, row.values, strict=True))}
            for row in rows(providers)
        ],
    }
    return TemplateResponse(request, "providers/table.html", context)
