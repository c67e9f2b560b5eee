"""Events as CloudEvents 1.0, for pulling and pushing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/cloudevents+json"
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"


def cloudevent(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structured CloudEvent for an event as the API shows it.

    `data` is the element as the provider sent it. The normalized columns are extension attributes, whose names may
    contain only lower-case letters and digits.
    """
    attributes = {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"urn:uuid:{event['account']}",
        "type": f"hookkeeper.{event['provider']}.{event['type']}",
        "subject": event["resource"] or None,
        "time": event["occurred_at"] or event["received_at"],
        "datacontenttype": "application/json",
        "subscription": event["subscription"],
        "action": event["action"],
        "resourcetype": event["resource_type"] or None,
        "previousresource": event["previous_resource"] or None,
        "actor": event["actor"] or None,
        "receivedat": event["received_at"],
        "providereventid": event["provider_event_id"] or None,
    }
    return {**{name: value for name, value in attributes.items() if value is not None}, "data": event["data"]}
