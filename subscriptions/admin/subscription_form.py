"""Adding and changing a subscription."""

from __future__ import annotations

import math
from typing import Any

from django import forms
from django.db import transaction

from providers.contract.capabilities import Renewal
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.schema_form import SchemaForm
from providers.models import ProviderAccount
from providers.times import hour_and_minute
from subscriptions.lifecycle import desired_state, ip_allowlist, quiet_hours
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

    quiet_minutes = forms.IntegerField(
        min_value=quiet_hours.SHORTEST // 60,
        max_value=quiet_hours.LONGEST // 60,
        required=False,
        label="An event is expected every (minutes)",
        help_text="After so long without one Hookkeeper looks for the reason and tells. Empty: it is not watched.",
    )
    quiet_start = forms.TimeField(required=False, label="Every day from")
    quiet_until = forms.TimeField(required=False, label="until", help_text="The next day, if it is earlier.")
    quiet_weekends = forms.BooleanField(required=False, label="Saturdays and Sundays")
    quiet_zone = forms.CharField(
        max_length=60, required=False, label="Time zone", help_text="Of these times, such as Europe/Berlin."
    )

    allowed_networks = forms.CharField(
        max_length=ip_allowlist.MOST * (ip_allowlist.LONGEST + 2),
        required=False,
        widget=forms.Textarea,
        label="Only take calls from",
        help_text="Networks such as 192.0.2.0/24 or fd00::/8, one per line. Calls from elsewhere are answered 401 and "
        "kept as rejected; they can be released later. Empty: from everywhere.",
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
        self.initial.setdefault("allowed_networks", "\n".join(row.allowed_networks))
        if subscription is None:
            number = account.subscriptions.filter(deleted_at=None).count() + 1
            self.initial["name"] = f"{account.name} {number}"
        self._show_expected(row)
        if subscription is not None:
            del self.fields["managed"]
        plugin = account.plugin
        values = subscription.config if subscription else None
        self.add_schema(CONFIG, plugin.config_model, values=values, event_types=plugin.event_types)

    def _show_expected(self, row: Subscription) -> None:
        hours = row.quiet_hours or {}
        shown = {
            "quiet_minutes": None if row.quiet_after is None else math.ceil(row.quiet_after / 60),
            "quiet_start": hours.get("from"),
            "quiet_until": hours.get("until"),
            "quiet_weekends": hours.get("weekends", False),
            "quiet_zone": hours.get("time_zone", "UTC"),
        }
        for name, value in shown.items():
            self.initial.setdefault(name, value)

    @property
    def keeping(self) -> str:
        """How it is kept, in a few words, for where that is folded away."""
        words = []
        if "managed" in self.fields and self["managed"].value() == Managed.MANUAL:
            words.append("registered by hand")
        if self.account.plugin.capabilities.renewal is not Renewal.NONE:
            words.append("renewed by itself" if self["auto_renew"].value() else "not renewed")
        policy = dict(DRIFT_POLICIES).get(self["drift_policy"].value())
        if policy:
            words.append(f"a change at the provider: {policy.lower()}")
        return " · ".join(words)

    @property
    def silence_errors(self) -> bool:
        """Whether something is wrong with what is said about silence."""
        return any(name.startswith("quiet_") for name in self.errors)

    def clean_allowed_networks(self) -> list[str]:
        """As they are stored."""
        try:
            return ip_allowlist.read_all(self.cleaned_data["allowed_networks"].replace(",", " ").split())
        except ip_allowlist.NotUnderstood as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Asks the provider's schema, and whether the quiet hours make sense."""
        self.expected = self._expected()
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
        with transaction.atomic():
            row = self._saved(config, values, by=by)
            desired_state.expect(row, by=by, **self.expected)
            desired_state.accept_from(row, by=by, allowed_networks=data["allowed_networks"])
        return row

    def _expected(self) -> dict[str, Any]:
        data = self.cleaned_data
        start, until = data.get("quiet_start"), data.get("quiet_until")
        minutes = data.get("quiet_minutes")
        hours: dict[str, object] | None = None
        if start or until or data.get("quiet_weekends"):
            hours = {
                "time_zone": data.get("quiet_zone") or "UTC",
                "from": hour_and_minute(start),
                "until": hour_and_minute(until),
                "weekends": bool(data.get("quiet_weekends")),
            }
            try:
                quiet_hours.read(hours)
            except quiet_hours.NotUnderstood as error:
                self.add_error("quiet_zone" if "time_zone" in str(error) else "quiet_start", str(error))
        return {"quiet_after": minutes and minutes * 60, "quiet_hours": hours}

    def _saved(self, config: dict[str, Any], values: dict[str, Any], *, by: str) -> Subscription:
        data = self.cleaned_data
        if self.subscription is None:
            return desired_state.subscribe(self.account, config=config, by=by, managed=data["managed"], **values)
        desired_state.change(self.subscription, by=by, config=config, **values)
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
