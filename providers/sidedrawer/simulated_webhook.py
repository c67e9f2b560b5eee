"""A webhook at the simulated SideDrawer: its config, and the resources that it can watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers.sandbox.tenant import Hook
from providers.times import iso_time

MODIFICATIONS = ("create", "update", "delete")
DRAWER = "tenant/{tenantId}/sidedrawer/{sidedrawerId}"
# SideDrawer's resources, and the kinds of the events of each
RESOURCES: Mapping[str, tuple[str, ...]] = {
    "tenant/{tenantId}/sidedrawer": ("sidedrawer",),
    f"{DRAWER}/record": ("record",),
    f"{DRAWER}/record/{{recordId}}": ("record",),
    f"{DRAWER}/record/{{recordId}}/network": ("record-network",),
    f"{DRAWER}/record/{{recordId}}/files": ("file",),
    f"{DRAWER}/inbox": ("inbox",),
    f"{DRAWER}/network": ("sidedrawer-network",),
    f"{DRAWER}/plan-request": ("plan-request", "plan-item"),
    f"{DRAWER}/plan-request/{{planRequestId}}": ("plan-request", "plan-item"),
    f"{DRAWER}/plan-request/{{planRequestId}}/item": ("plan-item",),
    f"{DRAWER}/plan-request/{{planRequestId}}/item/{{planItemId}}": ("plan-item",),
    "tenant/{tenantId}/network/{openId}": ("network",),
    "subscription/{subscriptionid}/license": ("license",),
}
SINGLE_ENTITY = ("{recordId}", "{planRequestId}", "{planItemId}")  # templates with these endings are about one entity


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """The checked config of a webhook."""

    modification_type: str  # as the client sent it
    resource: str
    template: str
    expires_at: float
    connection_type: str = "HTTP"
    notification_url: str | None = None
    brand_code: str | None = None
    notification_messages: str | None = None
    integrity_key: str | None = field(default=None, repr=False)
    max_retries: int = 0

    def describe(self) -> dict[str, object]:
        """Return the config with the API's field names."""
        return {
            "modificationType": self.modification_type,
            "connectionType": self.connection_type,
            "notificationUrl": self.notification_url,
            "resource": self.resource,
            "expirationDateTime": format_time(self.expires_at),
            "brandCode": self.brand_code,
            "notificationMessages": self.notification_messages,
            "integrityKey": self.integrity_key,
            "maxRetries": self.max_retries,
        }


@dataclass(slots=True, kw_only=True)
class Webhook(Hook):
    """A registered webhook subscription."""

    config: WebhookConfig

    def is_live(self, now: float) -> bool:
        """Return whether events are sent over HTTP; those of a SOCKET subscription use a socket."""
        return Hook.is_live(self, now) and self.config.connection_type == "HTTP"


def format_time(moment: float) -> str:
    """Format a Unix time as the API does."""
    return iso_time(datetime.fromtimestamp(moment, tz=UTC))
