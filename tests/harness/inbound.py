"""Inbound requests for plug-in tests, and parsed events as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from providers.contract.parsing import InboundRequest, Parsed

CALLBACK_URL = "https://hooks.example.test/hooks/3q8Jt0yq"
RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def inbound(
    body: bytes = b"",
    *,
    method: str = "POST",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),),
    url: str = CALLBACK_URL,
    received_at: datetime = RECEIVED_AT,
) -> InboundRequest:
    """Return a request as the receiver passes it to a plug-in."""
    return InboundRequest(method=method, url=url, query=query, headers=headers, body=body, received_at=received_at)


def normalized(parsed: Parsed) -> dict[str, object]:
    """Return parsed events as JSON, as in `fixtures/<name>.expected.json`, but without `data`."""
    return {
        "events": [
            {
                "type": event.type,
                "action": event.action.value,
                "dedup_key": event.dedup_key,
                "provider_event_id": event.provider_event_id,
                "resource_type": event.resource_type,
                "resource": event.resource,
                **({"previous_resource": event.previous_resource} if event.previous_resource else {}),
                "actor": event.actor,
                "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
            }
            for event in parsed.events
        ],
        "unreadable": [{"index": item.index, "reason": item.reason} for item in parsed.unreadable],
        "ping": parsed.ping,
    }
