"""Revealing the secret of a subscription, and entering the one that the provider showed."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.views.decorators.cache import never_cache

from providers.conflict import Conflict
from providers.contract.errors import InvalidInput
from providers.dashboard.base import PageAdmin, actor_of
from subscriptions.admin.accounts import plugin_of
from subscriptions.lifecycle import actions, secrets
from subscriptions.models import Subscription


class SecretPages(PageAdmin[Subscription]):
    """The URL `<pk>/secret/` of a subscription."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the secret."""
        return [self.extra_url("<int:pk>/secret/", never_cache(self.secret_view), "secret"), *super().get_urls()]

    def secret_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the secret once, or store the one in `value`. Both are recorded in the audit trail."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row) or plugin_of(row.account) is None:
            raise PermissionDenied
        if "value" in request.POST:
            return self._enter_secret(request, row, request.POST["value"].strip())
        try:
            secret = secrets.reveal(row, by=actor_of(request))
        except InvalidInput as error:
            return self.back_to(request, row, ok=False, text=f"The account's settings are incomplete: {error}")
        context = {"row": row, **self.detail_context(request, row), "secret": secret}
        return self.render(request, self.detail_template, str(row), context, parent=True)

    def _enter_secret(self, request: HttpRequest, row: Subscription, value: str) -> HttpResponse:
        if not value:
            return self.back_to(request, row, ok=False, text="Enter the secret that the provider showed.")
        try:
            actions.enter_secret(row, value, by=actor_of(request))
        except Conflict as refused:
            return self.back_to(request, row, ok=False, text=str(refused))
        text = "The secret is stored. Requests authenticated with it are accepted."
        return self.back_to(request, row, ok=True, text=text)
