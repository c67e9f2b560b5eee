"""The form of a subscription."""

from __future__ import annotations

import math
from typing import Any

from django import forms
from django.db import transaction

from providers.contract.capabilities import Renewal
from providers.contract.errors import InvalidInput
from providers.dashboard.schema_form import SchemaForm
from providers.models import ProviderAccount
from providers.names import validate_name
from providers.times import hour_and_minute
from subscriptions.lifecycle import desired_state, ip_allowlist, quiet_hours
from subscriptions.models import DRIFT_POLICIES, Managed, Subscription

CONFIG = "config."


class SubscriptionForm(SchemaForm):
    """Name, switches, silence alert, allowed networks, and the provider's config."""

    name = forms.CharField(
        max_length=200, required=False, label="Name", help_text="Display name.", validators=[validate_name]
    )
    enabled = forms.BooleanField(
        required=False,
        label="Enabled",
        help_text="Off: the provider is asked to send no events. Events that still arrive are stored.",
    )
    auto_renew = forms.BooleanField(
        required=False, label="Auto-renew", help_text="Off: the subscription ends when its lease ends."
    )
    drift_policy = forms.ChoiceField(
        choices=DRIFT_POLICIES,
        required=False,
        label="On drift",
        help_text="When the config is changed at the provider. A changed callback URL or secret is always reverted.",
    )
    managed = forms.ChoiceField(
        choices=Managed.choices,
        label="Registration",
        help_text="Manual: Hookkeeper shows the URL and the secret, and changes nothing at the provider.",
    )

    quiet_minutes = forms.IntegerField(
        min_value=quiet_hours.MIN_QUIET_SECONDS // 60,
        max_value=quiet_hours.MAX_QUIET_SECONDS // 60,
        required=False,
        label="Alert after (minutes without an event)",
        help_text="After this time without an event, Hookkeeper looks for the cause and opens a problem. Empty: off.",
    )
    quiet_start = forms.TimeField(required=False, label="From")
    quiet_until = forms.TimeField(required=False, label="Until", help_text="The next day, if earlier than the start.")
    quiet_weekends = forms.BooleanField(required=False, label="Saturdays and Sundays are quiet")
    quiet_zone = forms.CharField(
        max_length=60, required=False, label="Time zone", help_text="For example Europe/Berlin."
    )

    allowed_networks = forms.CharField(
        max_length=ip_allowlist.MAX_NETWORKS * (ip_allowlist.MAX_NETWORK_LENGTH + 2),
        required=False,
        widget=forms.Textarea,
        label="Allowed networks",
        help_text="Networks such as 192.0.2.0/24 or fd00::/8, one per line. Requests from other addresses are answered "
        "with 401 and stored as rejected; they can be released later. Empty: any address.",
    )

    block_senders = forms.BooleanField(
        required=False,
        label="Save it anyway",
        help_text="Their requests will be rejected from now on. They are stored and can be released.",
    )

    def __init__(
        self, *args: Any, account: ProviderAccount, subscription: Subscription | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.account = account
        self.subscription = subscription
        self.edits_row = subscription is not None
        self.blocks_senders = False  # whether the allowed networks exclude senders of the last day, unconfirmed
        row = subscription or Subscription(account=account)
        for name in ("name", "enabled", "auto_renew", "drift_policy", "managed"):
            self.initial.setdefault(name, getattr(row, name))
        self.initial.setdefault("allowed_networks", "\n".join(row.allowed_networks))
        if subscription is None:
            number = account.subscriptions.filter(deleted_at=None).count() + 1
            self.initial["name"] = f"{account.name} {number}"
        self._init_silence_alert(row)
        if subscription is not None:
            del self.fields["managed"]
        plugin = account.plugin
        values = subscription.config if subscription else None
        self.add_schema(CONFIG, plugin.config_model, values=values, event_types=plugin.event_types)

    def _init_silence_alert(self, row: Subscription) -> None:
        hours = row.quiet_hours or {}
        initial = {
            "quiet_minutes": None if row.quiet_after is None else math.ceil(row.quiet_after / 60),
            "quiet_start": hours.get("from"),
            "quiet_until": hours.get("until"),
            "quiet_weekends": hours.get("weekends", False),
            "quiet_zone": hours.get("time_zone", "UTC"),
        }
        for name, value in initial.items():
            self.initial.setdefault(name, value)

    @property
    def renewal_summary(self) -> str:
        """Registration, renewal and drift policy in a few words, for the folded section."""
        parts = []
        if "managed" in self.fields and self["managed"].value() == Managed.MANUAL:
            parts.append("registered manually")
        if self.account.plugin.capabilities.renewal is not Renewal.NONE:
            parts.append("renewed automatically" if self["auto_renew"].value() else "not renewed")
        policy = dict(DRIFT_POLICIES).get(self["drift_policy"].value())
        if policy:
            parts.append(f"on drift: {policy.lower()}")
        return " · ".join(parts)

    @property
    def silence_errors(self) -> bool:
        """Whether a field of the silence alert has an error."""
        return any(name.startswith("quiet_") for name in self.errors)

    def clean_allowed_networks(self) -> list[str]:
        """Return the networks in the form in which they are stored."""
        try:
            return ip_allowlist.normalize_networks(self.cleaned_data["allowed_networks"].replace(",", " ").split())
        except ip_allowlist.InvalidNetwork as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Validate the config with the provider's schema, and the quiet hours."""
        self.silence_alert = self._silence_alert()
        self._check_senders()
        try:
            desired_state.validated_config(
                self.account, self.values(CONFIG), auto_renew=bool(self.cleaned_data.get("auto_renew"))
            )
        except InvalidInput as error:
            self.add_schema_errors(CONFIG, error)
        return self.cleaned_data

    def _check_senders(self) -> None:
        networks = self.cleaned_data.get("allowed_networks")
        confirmed = self.cleaned_data.get("block_senders")
        if self.subscription is None or not networks or confirmed or networks == self.subscription.allowed_networks:
            return
        try:
            ip_allowlist.check_senders(self.subscription, networks)
        except ip_allowlist.WouldBlockSenders as error:
            self.blocks_senders = True
            self.add_error("allowed_networks", str(error))

    def save(self, *, by: str) -> Subscription:
        """Save the desired state, with audit entries. Makes no API call."""
        data = self.cleaned_data
        values: dict[str, Any] = {name: data[name] for name in ("name", "enabled", "auto_renew")}
        values["drift_policy"] = data["drift_policy"] or self.initial["drift_policy"]
        config = self.values(CONFIG)
        with transaction.atomic():
            row = self._save_row(config, values, by=by)
            desired_state.set_silence_rules(row, by=by, **self.silence_alert)
            desired_state.set_allowed_networks(row, by=by, allowed_networks=data["allowed_networks"])
        return row

    def _silence_alert(self) -> dict[str, Any]:
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
                quiet_hours.parse_quiet_hours(hours)
            except quiet_hours.InvalidQuietHours as error:
                self.add_error("quiet_zone" if "time_zone" in str(error) else "quiet_start", str(error))
        return {"quiet_after": minutes and minutes * 60, "quiet_hours": hours}

    def _save_row(self, config: dict[str, Any], values: dict[str, Any], *, by: str) -> Subscription:
        data = self.cleaned_data
        if self.subscription is None:
            return desired_state.subscribe(self.account, config=config, by=by, managed=data["managed"], **values)
        desired_state.change(self.subscription, by=by, config=config, **values)
        return self.subscription

    def show_provider_error(self) -> bool:
        """Add the provider's last error to the field that it is about. Return whether there is such a field."""
        error = (self.subscription.last_error if self.subscription else None) or {}
        if not error.get("field"):
            return False
        path = str(error["field"]).removeprefix(CONFIG)
        key, message = self.locate(CONFIG, path, error.get("message", ""))
        if key is None:
            return False
        self.provider_errors[key] = message
        return True
