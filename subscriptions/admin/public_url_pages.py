"""The page that shows whether PUBLIC_URL changed, and confirms that the installation was moved."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from providers.dashboard.base import PageAdmin, actor_of
from subscriptions.lifecycle import public_url
from subscriptions.lifecycle.public_url import NotThisInstallation
from subscriptions.models import Subscription


class PublicUrlPages(PageAdmin[Subscription]):
    """The page `address/`."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the page."""
        return [self.extra_url("address/", self.address_view, "address"), *super().get_urls()]

    def address_view(self, request: HttpRequest) -> HttpResponse:
        """Show the registered addresses (GET); confirm the new one (POST)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._confirm(request)
        context = {"former": public_url.former_addresses(), "public_url": settings.PUBLIC_URL}
        return self.render(request, "public_url/page.html", "Public URL of this installation", context, parent=True)

    def _confirm(self, request: HttpRequest) -> HttpResponse:
        if not self.has_change_permission(request):
            raise PermissionDenied
        here = HttpResponseRedirect(request.path)
        if "sure" not in request.POST:
            messages.error(request, "Nothing was changed. Confirm that no other installation uses these subscriptions.")
            return here
        try:
            moved = public_url.confirm(request.POST.get("public_url", ""), by=actor_of(request))
        except NotThisInstallation as error:
            messages.error(request, f"Nothing was changed. {error}")
            return here
        messages.success(
            request,
            f"Confirmed. {moved} subscription{'s' if moved != 1 else ''} moved; the providers are being updated.",
        )
        return here
