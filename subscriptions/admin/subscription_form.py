"""Adding and changing a subscription."""

from __future__ import annotations

from typing import Any

from django import forms

from providers.base import validate
from providers.errors import InvalidInput
from providers.models import ProviderAccount
from providers.schema_form import SchemaForm
from subscriptions import wanted
from subscriptions.models import DRIFT_POLICIES, Managed, Subscription

CONFIG = "config."


class SubscriptionForm(SchemaForm):
    """A name, the switches, and the provider's config."""

    name = forms.CharField(
        max_length=200, required=False, label="Name", help_text="How this subscription is called here."
    )
    enabled = forms.BooleanField(
        required=False,
        label="Switched on",
        help_text="Off: the provider is told to send nothing; events that still come are kept.",
    )
    auto_renew = forms.BooleanField(
        required=False, label="Renew automatically", help_text="Off: it ends when its lease ends."
    )
    drift_policy = forms.ChoiceField(
        choices=DRIFT_POLICIES,
        required=False,
        label="When somebody changes it at the provider",
        help_text="Applies to the config. A changed callback URL or secret is never accepted.",
    )
    managed = forms.ChoiceField(
        choices=Managed.choices,
        label="How it is registered",
        help_text="By hand: Hookkeeper shows the URL and the secret, and changes nothing at the provider.",
    )

    def __init__(
        self, *args: Any, account: ProviderAccount, subscription: Subscription | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        self.subscription = subscription
        row = subscription or Subscription(account=account)
        for name in ("name", "enabled", "auto_renew", "drift_policy", "managed"):
            self.initial.setdefault(name, getattr(row, name))
        if subscription is not None:
            del self.fields["managed"]
        plugin = account.plugin
        values = subscription.config if subscription else None
        self.add_schema(CONFIG, plugin.config_model, values=values, event_types=plugin.event_types)

    def clean(self) -> dict[str, Any]:
        """Asks the provider's schema."""
        try:
            validate(self.account.plugin.config_model, self.values(CONFIG))
        except InvalidInput as error:
            self.note(CONFIG, error)
        return self.cleaned_data

    def save(self, *, by: str) -> Subscription:
        """Writes what is wanted, with its history. Makes no call."""
        data = self.cleaned_data
        values: dict[str, Any] = {name: data[name] for name in ("name", "enabled", "auto_renew")}
        values["drift_policy"] = data["drift_policy"] or self.initial["drift_policy"]
        config = self.values(CONFIG)
        if self.subscription is None:
            return wanted.subscribe(self.account, config=config, by=by, managed=data["managed"], **values)
        wanted.change(self.subscription, by=by, config=config, **values)
        return self.subscription

    def note_refusal(self) -> bool:
        """Shows what the provider refused at the field that it is about. True when there is such a field."""
        error = (self.subscription.last_error if self.subscription else None) or {}
        if not error.get("field"):
            return False
        path = str(error["field"]).removeprefix(CONFIG)
        key, message = self.place(CONFIG, path, error.get("message", ""))
        if key is None:
            return False
        self.refusals[key] = message
        return True
