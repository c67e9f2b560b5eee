"""A provider whose behavior a test controls, and a subscription at it, for tests of inbound requests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import pytest
from django.db import connection
from django.utils import timezone

from events.models import WebhookRequest
from events.receiver.group_commit import writer
from events.retention import rejected
from events.storage.request_row import InboundCall, to_row
from providers.contract import registry
from providers.contract.base import Provider, Registration, RemoteSubscription
from providers.contract.capabilities import Action, Capabilities, EventType, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    UnreadableElement,
    Verification,
    VerificationResult,
    load_json,
)
from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig
from providers.contract.session import ProviderSession
from providers.contract.signatures import find_shared_secrets
from providers.models import ProviderAccount
from subscriptions.models import Subscription

SECRET = "the-shared-secret"
T = TypeVar("T")


class FakeProvider(Provider[AccountSettings, Credentials, SubscriptionConfig]):
    """Reads bodies like `{"events": [{"id", "type", ...}]}`; an element without `type` is unreadable."""

    slug = "fake"
    name = "Fake"
    capabilities: ClassVar[Capabilities] = Capabilities(
        can_list=False,
        list_has_details=False,
        reveals_url=False,
        can_update=False,
        can_set_status=False,
        can_test=False,
        can_identify=False,
        renewal=Renewal.NONE,
        expiry_set_by=ExpirySetBy.NOBODY,
        proof=Proof.HEADER,
        secret_made_by=SecretMadeBy.PROVIDER,
        methods=("GET", "POST"),
        has_event_id=True,
    )
    event_types: ClassVar[tuple[EventType, ...]] = ()
    settings_model = AccountSettings
    credentials_model = Credentials
    config_model = SubscriptionConfig

    def __init__(self) -> None:
        self.before_parse: Callable[[InboundRequest], None] = lambda request: None
        self.fixed = False  # whether elements without `type` are readable

    def declare(self, **changes: Any) -> None:
        """Change the declared capabilities."""
        self.capabilities = dataclasses.replace(self.capabilities, **changes)  # type: ignore[misc]

    def origin(self, settings: AccountSettings) -> str:
        return "https://fake.example.test"

    def register(
        self, session: ProviderSession[AccountSettings, Credentials], registration: Registration[SubscriptionConfig]
    ) -> RemoteSubscription:
        raise NotImplementedError

    def delete(self, session: ProviderSession[AccountSettings, Credentials], remote_id: str) -> None:
        raise NotImplementedError

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: AccountSettings) -> Verification:
        if self.capabilities.proof is Proof.URL:
            return Verification(VerificationResult.NOT_VERIFIABLE, "Only the address identifies the provider.")
        matches = find_shared_secrets(request.headers, secrets)
        if not matches:
            return Verification(VerificationResult.FAILED, "No header carries the secret.")
        match = matches[0]
        return Verification(VerificationResult.VERIFIED, "The secret matches.", match.secret_index, (match.header,))

    def parse(self, request: InboundRequest) -> Parsed:
        self.before_parse(request)
        if not request.body:
            return Parsed(ping=True)
        body: Any = load_json(request.body)
        events: list[ParsedEvent] = []
        unreadable: list[UnreadableElement] = []
        for index, element in enumerate(body["events"]):
            if "type" in element or self.fixed:
                events.append(self._event(element))
            else:
                unreadable.append(UnreadableElement(index, "It has no type."))
        return Parsed(tuple(events), tuple(unreadable))

    def _event(self, element: dict[str, Any]) -> ParsedEvent:
        occurred_at = element.get("at")
        return ParsedEvent(
            type=element.get("type", "late"),
            action=Action.CREATED if element.get("type") == "made" else Action.OTHER,
            data=element.get("data", element),
            dedup_key=str(element["id"]),
            provider_event_id=str(element["id"]),
            resource=element.get("path"),
            previous_resource=element.get("from"),
            actor=element.get("by"),
            occurred_at=datetime.fromisoformat(occurred_at) if occurred_at else None,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    """Register a provider that the test controls."""
    plugin = FakeProvider()
    # In the registry's own dictionary: a module that is first imported during a test would keep a patched function.
    monkeypatch.setitem(registry.all_providers(), plugin.slug, plugin)
    return plugin


@pytest.fixture
def hook(db: None, fake: FakeProvider) -> Subscription:
    """Create a subscription at the fake provider."""
    rejected.growth.reset()  # it counts by primary key, which earlier tests have used
    account = ProviderAccount.objects.create(provider=fake.slug, name="Fake account")
    return Subscription.objects.create(account=account, secrets=[SECRET], due_at=None)


def body_of(*elements: object) -> bytes:
    """Return a body of the fake provider with these elements."""
    return json.dumps({"events": elements}).encode()


def store_request(
    subscription: Subscription,
    body: bytes,
    *,
    headers: tuple[tuple[str, str], ...] = (("X-Secret", SECRET),),
    received_at: datetime | None = None,
) -> WebhookRequest:
    """Store a request as the receiver does."""
    inbound = InboundRequest(
        method="POST",
        url=subscription.callback_url,
        query="",
        headers=headers,
        body=body,
        received_at=received_at or timezone.now(),
    )
    plugin = subscription.account.plugin
    verification = plugin.verify(inbound, subscription.secrets, subscription.account.typed_settings)
    row = to_row(
        InboundCall(
            subscription_id=subscription.pk,
            account_id=subscription.account_id,
            sensitive_headers=plugin.sensitive_headers(subscription.account.typed_settings),
            inbound=inbound,
            verification=verification,
            remote_addr="192.0.2.1",
            size=len(body),
            secrets=subscription.secrets,
        )
    )
    writer.store(row)
    return WebhookRequest.objects.get(uid=row.uid)


def fresh(request: WebhookRequest) -> WebhookRequest:
    """Return the request as it is stored now."""
    return WebhookRequest.objects.get(pk=request.pk)


def run_concurrently(*calls: Callable[[], T]) -> list[T]:
    """Run the functions at the same time, each in a thread with its own database connection."""

    def run(call: Callable[[], T]) -> T:
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(30) for future in [pool.submit(run, call) for call in calls]]


@contextmanager
def clock_at(monkeypatch: pytest.MonkeyPatch, now: datetime) -> Iterator[None]:
    """Set Django's clock to another time while the block runs."""
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: now.astimezone(UTC))
        yield
