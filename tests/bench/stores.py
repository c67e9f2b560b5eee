from __future__ import annotations

from events.models import WebhookRequest
from events.pipeline import Arrival


def parse_and_forget(arrival: Arrival) -> WebhookRequest:
    arrival.subscription.account.plugin.parse(arrival.inbound)
    return WebhookRequest(subscription=arrival.subscription, outcome="processed")
