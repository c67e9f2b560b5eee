"""Admin pages of users, groups and API tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils.cache import add_never_cache_headers
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.models import ApiToken, Scope
from config.rest.scopes import grantable_scopes
from config.web.form_once import set_result
from providers.audit import log
from providers.dashboard.base import PageAdmin, actor_of
from providers.names import validate_name

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin

TOKEN = "token"  # noqa: S105  # the kind of subject in the audit trail

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], ModelAdmin[User]):
    """Users who may log in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin[Group]):
    """Groups of users with the same permissions."""


class TokenForm(forms.Form):
    """Name and scopes of a new token."""

    name = forms.CharField(
        max_length=100, label="Name", help_text="The service that uses the token.", validators=[validate_name]
    )
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        help_text="Write access includes read access. Only what you may do yourself can be chosen.",
        error_messages={"required": "Choose at least one."},
    )

    def __init__(self, *args: Any, scopes: Sequence[Scope], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [(scope.value, scope.label) for scope in scopes]  # type: ignore[attr-defined]


@admin.register(ApiToken)
class TokenAdmin(PageAdmin[ApiToken]):
    """API tokens. The token is shown once, when it is created; afterwards only its prefix."""

    writable = True
    list_template = "tokens/list.html"
    detail_template = "tokens/detail.html"
    list_title = "API tokens"
    history_kind = TOKEN
    list_intro = "Tokens authenticate other services at the REST API. A token is shown only once, when it is created."

    def get_urls(self) -> list[URLPattern]:
        """Add the revoke URL."""
        return [self.extra_url("<int:pk>/revoke/", self.revoke_view, "revoke"), *super().get_urls()]

    def detail_context(self, request: HttpRequest, row: ApiToken) -> dict[str, Any]:
        """Return all scopes, each with whether the token has it."""
        return {"scopes": [(scope.value, scope.label, scope.value in row.scopes) for scope in Scope]}

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Deny deletion: revoked tokens are kept so that the audit trail can name them."""
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the form; after it was submitted, show the token once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        grantable = grantable_scopes(request.user)
        form = TokenForm(request.POST or None, scopes=grantable)
        if request.method == "POST" and form.is_valid():
            return self._issue(request, form)
        chosen = form["scopes"].value() or []
        scopes = [(scope.value, scope.label, scope.value in chosen) for scope in grantable]
        context = {"form": form, "scopes": scopes, "cancel_url": self.list_url()}
        return self.render(request, "tokens/form.html", "Add an API token", context, parent=True)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Revoke the token. This cannot be undone."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        row.revoke()
        log.record(actor_of(request), "revoked", TOKEN, subject_id=row.uid, name=row.name)
        return self.back_to(request, row, ok=True, text=f"The token {row} was revoked. It is not accepted any more.")

    def _issue(self, request: HttpRequest, form: TokenForm) -> HttpResponse:
        scopes = form.cleaned_data["scopes"]
        token, text = ApiToken.issue(form.cleaned_data["name"], scopes)
        log.record(
            actor_of(request),
            log.CREATED,
            TOKEN,
            subject_id=token.uid,
            name=token.name,
            after={"scopes": scopes},
        )
        messages.success(request, f"The token {token} was created.")
        set_result(request, self.page_url(token))  # the response shows the token once and is no redirect
        context = {"row": token, "text": text, **self.detail_context(request, token)}
        response = self.render(request, "tokens/detail.html", str(token), context, parent=True)
        add_never_cache_headers(response)
        return response
