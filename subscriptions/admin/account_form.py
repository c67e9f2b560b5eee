"""Adding and changing an account."""

from __future__ import annotations

from typing import Any

from django import forms

from providers.contract.base import AnyProvider
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.schema_form import SchemaForm
from providers.models import MOST_RETENTION_DAYS, ProviderAccount
from subscriptions.lifecycle import desired_state

SETTINGS, CREDENTIALS, FORGET = "settings.", "credentials.", "forget."


class AccountForm(SchemaForm):
    """A name, and the provider's settings and credentials. A credential that is left empty stays as it is."""

    name = forms.CharField(max_length=200, label="Name", help_text="How this account is called here.")

    retention_days = forms.IntegerField(
        min_value=1,
        max_value=MOST_RETENTION_DAYS,
        required=False,
        label="Keep for (days)",
        help_text="Requests and events that are older are thrown away. Empty: they are kept for ever.",
    )

    def __init__(self, *args: Any, plugin: AnyProvider, account: ProviderAccount | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.plugin = plugin
        self.account = account
        self.initial.setdefault("name", account.name if account else "")
        suggested = plugin.capabilities.retention_days
        self.initial.setdefault("retention_days", account.retention_days if account else suggested)
        self.add_schema(SETTINGS, plugin.settings_model, values=account.settings if account else None)
        stored = account.credentials if account else {}
        self.add_schema(CREDENTIALS, plugin.credentials_model, values=stored, secret=True)
        for key in self.stored:
            if not self.looks[key].required:
                self.fields[FORGET + key] = forms.BooleanField(required=False, label="Remove what is stored")

    def clean(self) -> dict[str, Any]:
        """Asks the provider's schemas."""
        for prefix, model, values in (
            (SETTINGS, self.plugin.settings_model, self.values(SETTINGS)),
            (CREDENTIALS, self.plugin.credentials_model, {**self._kept(), **self.new_credentials()}),
        ):
            try:
                validate(model, values)
            except InvalidInput as error:
                self.note(prefix, error)
        return self.cleaned_data

    def new_credentials(self) -> dict[str, Any]:
        """What was typed; None for what is to be forgotten."""
        forgotten = [key.removeprefix(CREDENTIALS) for key in self.stored if self.cleaned_data.get(FORGET + key)]
        return {**dict.fromkeys(forgotten), **self.values(CREDENTIALS)}

    def save(self, *, by: str) -> ProviderAccount:
        """Writes the account, with its history. Makes no call."""
        values: dict[str, Any] = {
            **{name: self.cleaned_data[name] for name in ("name", "retention_days")},
            "settings": self.values(SETTINGS),
            "credentials": self.new_credentials(),
        }
        if self.account is None:
            return desired_state.add_account(provider=self.plugin.slug, by=by, **values)
        desired_state.change_account(self.account, by=by, **values)
        return self.account

    def _kept(self) -> dict[str, Any]:
        return dict(self.account.credentials) if self.account else {}
