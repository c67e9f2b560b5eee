"""Sample data shared by the SideDrawer tests, and a shorthand for parsing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from providers.contract.base import Registration
from providers.contract.parsing import Parsed
from providers.contract.schemas import validate
from providers.sandbox.tenant import LoginName
from providers.sidedrawer import provider
from providers.sidedrawer.schemas import SideDrawerConfig, SideDrawerSettings
from providers.sidedrawer.simulated_tenants import TENANTS
from tests.harness.inbound import CALLBACK_URL, inbound

SPARE = TENANTS[LoginName.SPARE]
TENANT = SPARE.tenant_id
DRAWER = f"tenant/{TENANT}/sidedrawer/{SPARE.drawer}"
SECRET = "hk_" + "s3cr3t" * 6
ENTERED_TOKEN = "token-0123456789"
ID = "64b7f0c2a1d3e40012ab9999"
WEBHOOK: dict[str, object] = {
    "id": ID,
    "modificationType": "create",
    "connectionType": "HTTP",
    "notificationUrl": CALLBACK_URL,
    "resource": f"{DRAWER}/record",
    "expirationDateTime": "2030-01-01T00:00:00-03:00",
    "brandCode": "mybrand",
    "notificationMessages": None,
    "integrityKey": SECRET,
    "maxRetries": 3,
}
CANONICAL = {
    "resource": f"{DRAWER}/record",
    "modification_type": "create",
    "connection_type": "HTTP",
    "brand_code": "mybrand",
    "notification_messages": None,
    "max_retries": 3,
}
# A resource for each kind of event
RESOURCES_BY_KIND: Mapping[str, str] = {
    "sidedrawer": f"tenant/{TENANT}/sidedrawer",
    "record": f"{DRAWER}/record",
    "record-network": f"{DRAWER}/record/{SPARE.record}/network",
    "file": f"{DRAWER}/record/{SPARE.record}/files",
    "inbox": f"{DRAWER}/inbox",
    "sidedrawer-network": f"{DRAWER}/network",
    "plan-request": f"{DRAWER}/plan-request",
    "plan-item": f"{DRAWER}/plan-request/p1/item",
    "network": f"tenant/{TENANT}/network/{SPARE.open_id}",
    "license": f"subscription/{SPARE.subscription}/license",
}


def fill_in(template: str) -> str:
    """Return a resource template with the spare tenant's IDs filled in."""
    for name, value in {"tenantId": TENANT, "sidedrawerId": SPARE.drawer, "recordId": SPARE.record}.items():
        template = template.replace(f"{{{name}}}", value)
    return template.replace("{", "x-").replace("}", "")


def registration(**changes: Any) -> Registration[SideDrawerConfig]:
    """Return a registration whose canonical config is `CANONICAL`, with the given changes."""
    config = validate(
        SideDrawerConfig,
        {"resource": f"{DRAWER}/record", "modification_type": "Create", "brand_code": "mybrand", "max_retries": 3},
    )
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


def settings(**values: object) -> SideDrawerSettings:
    """Return account settings with the given values."""
    return validate(SideDrawerSettings, {"tenant_id": TENANT, **values})


def parse(value: object) -> Parsed:
    """Parse a request with this value as its JSON body."""
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    """Return an element with the type `record.update`, with the given changes."""
    return {
        "resource": f"{DRAWER}/record/r1",
        "modificationType": "update",
        "modificationDateTime": "2026-01-02T03:04:05Z",
        **changes,
    }
