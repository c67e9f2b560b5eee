"""The form of an account."""

from __future__ import annotations

from typing import Any

from django import forms

from providers.contract.base import AnyProvider
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.schema_form import SchemaForm
from providers.models import MAX_RETENTION_DAYS, ProviderAccount
from providers.names import validate_name
from subscriptions.lifecycle import accounts

SETTINGS, CREDENTIALS, FORGET = "settings.", "credentials.", "forget."


class AccountForm(SchemaForm):
    """Name, retention, settings and credentials. An empty credential field keeps the stored value."""

    name = forms.CharField(max_length=200, label="Name", help_text="Display name.", validators=[validate_name])

    retention_days = forms.IntegerField(
        min_value=1,
        max_value=MAX_RETENTION_DAYS,
        required=False,
        label="Retention (days)",
        help_text="Older requests and events are deleted. Empty: they are kept indefinitely.",
    )

    def __init__(self, *args: Any, plugin: AnyProvider, account: ProviderAccount | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plugin = plugin
        self.account = account
        self.edits_row = account is not None
        self.initial.setdefault("name", account.name if account else "")
        default_days = plugin.capabilities.retention_days
        self.initial.setdefault("retention_days", account.retention_days if account else default_days)
        self.add_schema(SETTINGS, plugin.settings_model, values=account.settings if account else None)
        stored = account.credentials if account else {}
        self.add_schema(CREDENTIALS, plugin.credentials_model, values=stored, secret=True)
        for key in self.stored:
            if not self.specs[key].required:
                self.fields[FORGET + key] = forms.BooleanField(required=False, label="Delete the stored value")

    def clean(self) -> dict[str, Any]:
        """Validate with the provider's schemas."""
        try:
            validate(self.plugin.settings_model, self.values(SETTINGS))
        except InvalidInput as error:
            self.add_schema_errors(SETTINGS, error)
        try:
            validate(self.plugin.credentials_model, self._merged_credentials())
        except InvalidInput as error:
            self.add_schema_errors(CREDENTIALS, error)
        return self.cleaned_data

    def new_credentials(self) -> dict[str, Any]:
        """Return the entered credentials; None for those to delete."""
        deleted = [key.removeprefix(CREDENTIALS) for key in self.stored if self.cleaned_data.get(FORGET + key)]
        return {**dict.fromkeys(deleted), **self.values(CREDENTIALS)}

    def save(self, *, by: str) -> ProviderAccount:
        """Save the account, with an audit entry. Makes no API call."""
        values: dict[str, Any] = {
            **{name: self.cleaned_data[name] for name in ("name", "retention_days")},
            "settings": self.values(SETTINGS),
            "credentials": self.new_credentials(),
        }
        if self.account is None:
            return accounts.add_account(provider=self.plugin.slug, by=by, **values)
        accounts.change_account(self.account, by=by, **values)
        return self.account

    def _merged_credentials(self) -> dict[str, Any]:
        """Return the credentials that would be stored. Raises InvalidInput for those that must be entered again."""
        entered = self.new_credentials()
        return accounts.merge_credentials(self.account, self.values(SETTINGS), entered) if self.account else entered
