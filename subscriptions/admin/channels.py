"""Admin pages of notification channels: list, detail page, form and test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern

from providers.contract.errors import InvalidInput
from providers.dashboard.base import PageAdmin, actor_of
from providers.dashboard.form_version import VersionedForm
from providers.models import HistoryEntry
from providers.names import validate_name
from subscriptions.models import Channel, ChannelKind, Severity
from subscriptions.notifications import channels, dispatch

MESSAGES_SHOWN = 15
HISTORY_SHOWN = 15
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class ChannelForm(VersionedForm):
    """Recipients, minimum severity and intervals. An empty webhook URL keeps the stored one."""

    name = forms.CharField(max_length=200, label="Name", help_text="Display name.", validators=[validate_name])
    recipients = forms.CharField(label="Recipients", help_text="Email addresses, separated by commas.", max_length=2000)
    url = forms.CharField(
        required=False,
        max_length=2000,
        label="Webhook URL",
        help_text="Receives JSON with a text, compatible with Slack, Mattermost, Rocket.Chat and Google Chat. Anybody "
        "who knows the URL can post there, so it is encrypted and never shown again.",
    )
    min_severity = forms.ChoiceField(choices=Severity.choices, label="Minimum severity")
    every = forms.IntegerField(
        min_value=1,
        max_value=24 * 60,
        label="Minimum interval (minutes)",
        help_text="New problems are batched. The first critical problem is sent immediately.",
    )
    remind_every = forms.IntegerField(
        min_value=0,
        max_value=24 * 30,
        label="Reminder interval (hours)",
        help_text="0: no reminders. Acknowledged problems send no reminders.",
    )
    recoveries = forms.BooleanField(required=False, label="Notify when resolved")
    enabled = forms.BooleanField(required=False, label="Enabled")

    def __init__(self, *args: Any, kind: str, channel: Channel | None = None, **kwargs: Any) -> None:
        row = channel or Channel(kind=kind)
        kwargs["initial"] = {
            "name": row.name,
            "recipients": ", ".join(row.recipients),
            "min_severity": row.min_severity,
            "every": row.every // MINUTE,
            "remind_every": row.remind_every // HOUR if row.remind_every else 0,
            "recoveries": row.recoveries,
            "enabled": row.enabled,
        }
        super().__init__(*args, **kwargs)
        self.kind = kind
        self.channel = channel
        self.edits_row = channel is not None
        del self.fields["url" if kind == ChannelKind.EMAIL else "recipients"]

    def save(self, *, by: str) -> Channel | None:
        """Save the channel. Return None, with errors at the fields, if it is invalid."""
        try:
            if self.channel is None:
                return channels.add(by=by, kind=self.kind, **self._values())
            channels.change(self.channel, by=by, **self._values())
        except InvalidInput as error:
            for item in error.errors:
                self.add_error(item.field.partition(".")[0] or None, item.message)
            return None
        return self.channel

    def _values(self) -> dict[str, Any]:
        cleaned = {name: value for name, value in self.cleaned_data.items() if name != "seen"}
        hours = cleaned.pop("remind_every")
        values = {
            **cleaned,
            "every": cleaned["every"] * MINUTE,
            "remind_every": hours * HOUR if hours else None,
        }
        if "recipients" in values:
            values["recipients"] = [part.strip() for part in values["recipients"].split(",") if part.strip()]
        if not values.get("url") and self.channel is not None:
            values.pop("url", None)
        return values


@admin.register(Channel)
class ChannelAdmin(PageAdmin[Channel]):
    """Notification channels."""

    writable = True
    history_kind = dispatch.HISTORY_KIND
    list_template = "channels/list.html"
    detail_template = "channels/detail.html"
    list_title = "Notifications"
    list_intro = "Channels that report problems. New problems are batched; open ones are sent again as reminders."

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the form and the test."""
        return [
            self.extra_url("<int:pk>/edit/", self.edit_view, "edit"),
            self.extra_url("<int:pk>/test/", self.test_view, "test"),
            *super().get_urls(),
        ]

    def rows(self, request: HttpRequest) -> QuerySet[Channel]:
        """Leave out the webhook URLs, which are encrypted."""
        return self.get_queryset(request).defer("url")

    def detail_rows(self, request: HttpRequest) -> QuerySet[Channel]:
        """Leave out the webhook URLs: the page must open even if they cannot be decrypted."""
        return self.rows(request)

    def detail_context(self, request: HttpRequest, row: Channel) -> dict[str, Any]:
        """Return the latest messages of a channel and its audit trail."""
        return {
            "channel_messages": list(row.messages.order_by("-pk")[:MESSAGES_SHOWN]),
            "history": _history_of(row),
            "no_mail_server": row.kind == ChannelKind.EMAIL and _has_no_mail_server(),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the choice of the kind, then the form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind = request.GET.get("kind", "")
        if kind not in ChannelKind.values:
            return self.render(request, "channels/choose_kind.html", "Add a channel", {}, parent=True)
        form = ChannelForm(request.POST or None, kind=kind)
        if request.method == "POST" and form.is_valid():
            channel = form.save(by=actor_of(request))
            if channel is not None:
                return self.back_to(request, channel, ok=True, text="Channel added. Send a test to check it.")
        return self._form_page(request, form, f"Add a channel: {ChannelKind(kind).label}")

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Edit a channel."""
        self.row_or_404(request, str(pk))
        with self.locked(request, pk):
            row = Channel.objects.defer("url").get(pk=pk)
            if not self.has_change_permission(request, row):
                raise PermissionDenied
            form = ChannelForm(request.POST or None, kind=row.kind, channel=row)
            if request.method == "POST" and form.is_valid() and form.save(by=actor_of(request)) is not None:
                return self.back_to(request, row, ok=True, text="Saved.")
        return self._form_page(request, form, f"Edit “{row}”", row=row)

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a test message and show the result."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        ok, detail = dispatch.send_test(row, by=actor_of(request))
        return self.back_to(request, row, ok=ok, text=f"{'Test succeeded.' if ok else 'Test failed.'} {detail}")

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation, then delete the channel."""
        row = self.row_or_404(request, object_id)
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            channels.remove(row, by=actor_of(request))
            messages.success(request, f"The channel {row} was deleted.")
            return HttpResponseRedirect(self.list_url())
        context = {"row": row, "row_url": self.page_url(row)}
        return self.render(request, "channels/delete.html", f"Delete “{row}”?", context, parent=True)

    def _form_page(
        self, request: HttpRequest, form: ChannelForm, title: str, row: Channel | None = None
    ) -> HttpResponse:
        context = {
            "form": form,
            "row": row,
            "cancel_url": self.page_url(row) if row else self.list_url(),
            "no_mail_server": form.kind == ChannelKind.EMAIL and _has_no_mail_server(),
        }
        return self.render(request, "channels/form.html", title, context, parent=True)


def _history_of(row: Channel) -> list[HistoryEntry]:
    entries = HistoryEntry.objects.filter(subject_type=dispatch.HISTORY_KIND, subject_id=str(row.uid))
    return list(entries[:HISTORY_SHOWN])


def _has_no_mail_server() -> bool:
    """Return whether emails only go to the log, because EMAIL_URL is not set."""
    return "console" in settings.EMAIL_BACKEND
