"""The API side of a simulator: the methods that a plug-in implements, its state, and its responses."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Generic

from providers.sandbox.calls import HUGE_RESPONSE_BYTES, Call, NoResponse, Response
from providers.sandbox.misbehavior import misbehave
from providers.sandbox.rewriting import rewrite
from providers.sandbox.tenant import Batch, Delivery, Event, H, LoginName, O, SandboxLogin, Tenant, iso
from providers.sandbox.webhook_sender import SendResult, WebhookCall, WebhookSender

MAX_REMEMBERED = 500  # calls and deliveries that `state` shows
SENDER_THREADS = 16  # threads that send webhooks, per simulator


class SimulatedApi(ABC, Generic[H, O]):
    """The API of one provider. `respond` is called from many threads."""

    # -- Declarations ---------------------------------------------------------------------------------------------

    slug: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]  # path prefixes of its API
    event_types: ClassVar[tuple[str, ...]]  # event types that it sends, without wildcards
    wildcards: ClassVar[frozenset[str]] = frozenset()  # types that can only be subscribed to
    answer_within: ClassVar[float] = 10.0  # seconds after which a webhook call fails
    demo_config: ClassVar[Mapping[str, object]]  # the config of a subscription to everything, in the plug-in's form
    secret_keys: ClassVar[frozenset[str]] = frozenset()  # fields of responses that show the inbound secret
    options_model: type[O]
    collection: ClassVar[str]  # the path of the list call and of registrations
    odd_id: ClassVar[object] = "odd-webhook-4"  # of an odd entry, in the form of this provider's IDs

    # -- Required methods; all but the first two are called with the lock held ------------------------------------

    @abstractmethod
    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return the spare and the demo login. They never change, because installations store them."""

    @abstractmethod
    def login_of(self, call: Call) -> LoginName | None:
        """Return the login whose credentials a call carries; None if they are unknown."""

    @abstractmethod
    def handle(self, tenant: Tenant[H, O], call: Call) -> Response:
        """Return the response to an API call with valid credentials."""

    @abstractmethod
    def error_response(self, status: int) -> Response:
        """Return an error as the provider formats it, for faults and for unknown credentials (401)."""

    @abstractmethod
    def details(self, tenant: Tenant[H, O], hook: H) -> dict[str, object]:
        """Return a webhook as the provider describes it, with nothing masked."""

    @abstractmethod
    def change(self, tenant: Tenant[H, O], hook: H, *, status: str | None, config: Mapping[str, object] | None) -> None:
        """Change a webhook as if it was done at the provider.

        `config` uses the provider's field names or the plug-in's. Raises InvalidControlInput before any change.
        """

    @abstractmethod
    def make_event(self, tenant: Tenant[H, O], event_type: str, hook: H) -> Event:
        """Return a realistic event that matches this webhook's filters."""

    @abstractmethod
    def build_webhook_call(
        self, tenant: Tenant[H, O], hook: H, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Return the webhook call that carries these events."""

    # -- Methods with a default ----------------------------------------------------------------------------------

    def serve(self, tenant: Tenant[H, O], call: Call) -> Response:
        """Return the response of `handle` behind the provider's gateway, which may throttle. Faults apply before it."""
        return self.handle(tenant, call)

    def is_list_call(self, call: Call) -> bool:
        """Return whether a call lists webhooks."""
        return call.method == "GET" and call.path.rstrip("/") == self.collection

    def is_registration(self, call: Call) -> bool:
        """Return whether a call registers a webhook."""
        return call.method == "POST" and call.path.rstrip("/") == self.collection

    def matches_type(self, hook: H, event_type: str) -> bool:
        """Return whether a webhook is subscribed to an event type."""
        return True

    def matches(self, hook: H, event: Event) -> bool:
        """Return whether an event matches a webhook's filters."""
        return self.matches_type(hook, event.type)

    def batch_limit(self, tenant: Tenant[H, O]) -> int:
        """Return the maximum number of events in one webhook call."""
        return 1

    def is_received(self, status: int) -> bool:
        """Return whether this status of the receiver counts as received."""
        return status == 200

    def should_retry(self, status: int | None) -> bool:
        """Return whether a failed delivery is retried; None is a network failure."""
        return True

    def retry_delays(self, tenant: Tenant[H, O], hook: H) -> Sequence[float]:
        """Return the seconds before each retry; after the last one the delivery has failed for good."""
        return tenant.options.retry_delays

    def obtains_token(self, call: Call) -> bool:
        """Return whether a call only obtains an access token. Faults skip such calls."""
        return False

    def demo_configs(self) -> Mapping[str, Mapping[str, object]]:
        """Return the configs of the demo subscriptions by name."""
        return {"Everything": self.demo_config}

    def age_extra_state(self, tenant: Tenant[H, O], seconds: float) -> None:
        """Move the deadlines that only this simulator has, such as quotas and tokens."""
        return

    def send(self, tenant: Tenant[H, O], hook: H, call: WebhookCall) -> SendResult:
        """Make one delivery attempt, without the lock. A webhook with several URLs may make several calls."""
        return self.sender.send(call, timeout=self.answer_within)

    def handle_failed_delivery(self, tenant: Tenant[H, O], hook: H, batch: Batch) -> None:
        """Count a delivery that failed for good; after several in a row the webhook is disabled."""
        hook.failures += 1
        if hook.failures >= tenant.options.failures_until_disabled:
            hook.enabled = False

    # -- Methods that simulators do not override -----------------------------------------------------------------

    def __init__(
        self,
        base_url: str,
        *,
        sender: WebhookSender,
        options: Mapping[str, object] | None = None,
        per_minute: float = 0.0,
        seed: int | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.base_url = base_url
        self.sender = sender
        self.wake = wake  # called when something may be due earlier than `run_due` returned
        self.random = random.Random(seed)
        self.lock = threading.RLock()
        self.calls: deque[dict[str, object]] = deque(maxlen=MAX_REMEMBERED)
        self.deliveries: deque[Delivery] = deque(maxlen=MAX_REMEMBERED)
        self.pool = ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix=f"sandbox-{self.slug}")
        self.tenants: dict[LoginName, Tenant[H, O]] = {
            account.login: Tenant(
                login=account.login,
                account=account,
                options=self.options_model.model_validate(dict(options or {})),
                per_minute=per_minute,
            )
            for account in self.logins(base_url)
        }

    def close(self) -> None:
        """Stop the sending threads. Close the sender first, or this waits for slow receivers."""
        self.pool.shutdown(wait=True, cancel_futures=True)

    def serves_path(self, path: str) -> bool:
        """Return whether a path belongs to this provider's API."""
        return any(path == prefix or path.startswith(prefix + "/") for prefix in self.paths)

    def select_tenants(self, login: LoginName | None) -> list[Tenant[H, O]]:
        """Return the tenant of this login; both tenants for None."""
        return [self.tenants[login]] if login else list(self.tenants.values())

    def respond(self, call: Call) -> Response | NoResponse:
        """Return the response to an API call, or a requested fault, and remember the call."""
        with self.lock:
            login = self.login_of(call)
            outcome = self._outcome(self.tenants[login], call) if login else self.error_response(401)
            self.calls.append(
                {
                    "method": call.method,
                    "path": call.path,
                    "status": outcome.status if isinstance(outcome, Response) else None,
                    "login": login,
                    "at": iso(time.time()),
                }
            )
            return outcome

    def _outcome(self, tenant: Tenant[H, O], call: Call) -> Response | NoResponse:
        if not tenant.faults or self.obtains_token(call):
            return rewrite(misbehave(self, tenant, call), tenant.options, self.secret_keys)
        fault = tenant.faults.popleft()
        if fault.status:
            response = self.error_response(fault.status)
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return Response(response.status, response.body, {**response.headers, **wait})
        if fault.redirect:
            return Response(302, headers={"Location": "/moved"})
        if fault.drop == "before":
            return NoResponse()
        self.handle(tenant, call)
        if fault.garbage:
            return Response(200, b'{"truncated": ["')
        if fault.huge:
            return Response(200, b'{"padding": "' + b"x" * HUGE_RESPONSE_BYTES + b'"}')
        return NoResponse(fault.timeout or 0.0)
