"""Base of all simulators: one provider's server, as far as we use it. Stateful, fails on demand, sends real webhooks.

A provider's `simulator.py` subclasses `Simulator` and names the class `simulator`; `providers.sandbox.server` finds
it, serves
it over HTTP and controls it. A simulator plays *their* side: it shares no code with the plug-in, so that a mistake in
one is not hidden by the same mistake in the other. No Django here.

Each simulator has two tenants, one per login: "spare" to be played with, "demo" that lives its life. Everything
(webhooks, faults, stream, options) belongs to one tenant. State is in memory only and guarded by one lock per
simulator; webhooks are sent from a pool of threads, outside that lock.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, Generic

from providers.sandbox.calls import HUGE_ANSWER_BYTES, Call, NoResponse, Response
from providers.sandbox.tenant import Batch, Delivery, Event, Fault, H, LoginName, O, SandboxLogin, Tenant, iso
from providers.sandbox.webhook_sender import SendResult, WebhookCall, WebhookSender

log = logging.getLogger(__name__)

MAX_REMEMBERED = 500  # calls and deliveries that `state` shows
SENDER_THREADS = 16  # threads that send webhooks, per simulator
MAX_IN_FLIGHT = 64  # the stream pauses while that many webhooks of a tenant wait for an answer
NEVER = float("inf")


class Simulator(ABC, Generic[H, O]):
    """One provider's server. `answer` is called from many threads."""

    # -- A simulator declares these ------------------------------------------------------------------------------

    slug: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]  # path prefixes that it serves
    event_types: ClassVar[tuple[str, ...]]  # single types that it sends
    wildcards: ClassVar[frozenset[str]] = frozenset()  # only for subscribing
    answer_within: ClassVar[float] = 10.0  # seconds that a receiver has
    demo_config: ClassVar[Mapping[str, object]]  # a subscription to everything, in our words
    options_model: type[O]

    # -- and does these; all but the first two are called with the lock held -------------------------------------

    @abstractmethod
    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """The spare and the demo login. The same ones after every start: an installation keeps them."""

    @abstractmethod
    def login_of(self, call: Call) -> LoginName | None:
        """Whose credentials a call presents; None for unknown ones."""

    @abstractmethod
    def handle(self, tenant: Tenant[H, O], call: Call) -> Response:
        """Answers a management call with good credentials."""

    @abstractmethod
    def error_response(self, status: int) -> Response:
        """An error in their envelope; for faults, and 401 for unknown credentials."""

    @abstractmethod
    def details(self, tenant: Tenant[H, O], hook: H) -> dict[str, object]:
        """A webhook in their words, with nothing hidden."""

    @abstractmethod
    def change(self, tenant: Tenant[H, O], hook: H, *, status: str | None, config: Mapping[str, object] | None) -> None:
        """What somebody did behind our back. `config` is in their words or ours. Raises InvalidControlInput, and then
        nothing was changed."""

    @abstractmethod
    def make_event(self, tenant: Tenant[H, O], event_type: str, hook: H) -> Event:
        """A believable event, at a place that this webhook's filters let through."""

    @abstractmethod
    def build_webhook_call(
        self, tenant: Tenant[H, O], hook: H, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """The HTTP call that carries these events."""

    # -- and may refine these ------------------------------------------------------------------------------------

    def serve(self, tenant: Tenant[H, O], call: Call) -> Response:
        """`handle` behind their gateway: throttling goes here. Faults come before it."""
        return self.handle(tenant, call)

    def matches_type(self, hook: H, event_type: str) -> bool:
        """Whether a webhook is subscribed to a type."""
        return True

    def matches(self, hook: H, event: Event) -> bool:
        """Whether a webhook's filters let an event through."""
        return self.matches_type(hook, event.type)

    def batch_limit(self, tenant: Tenant[H, O]) -> int:
        """How many events go into one call at most."""
        return 1

    def is_received(self, status: int) -> bool:
        """Whether this status of a receiver counts as received."""
        return status == 200

    def should_retry(self, status: int | None) -> bool:
        """Whether a failed delivery is tried again; None is a network failure."""
        return True

    def retry_delays(self, tenant: Tenant[H, O], hook: H) -> Sequence[float]:
        """Seconds before each further try for this webhook; where they end, the failure counts."""
        return tenant.options.retry_delays

    def obtains_token(self, call: Call) -> bool:
        """Whether a call only obtains a token. Faults leave those alone: they are about the calls that follow."""
        return False

    def demo_configs(self) -> Mapping[str, Mapping[str, object]]:
        """The demo's subscriptions by name: one to everything, where one can be about everything."""
        return {"Everything": self.demo_config}

    def age_own_state(self, tenant: Tenant[H, O], seconds: float) -> None:
        """Ages what only this simulator has (quotas, tokens)."""
        return

    def send(self, tenant: Tenant[H, O], hook: H, call: WebhookCall) -> SendResult:
        """One try to deliver, without the lock: a webhook with several URLs may make more than one call."""
        return self.sender.send(call, timeout=self.answer_within)

    def handle_failed_delivery(self, tenant: Tenant[H, O], hook: H, batch: Batch) -> None:
        """What follows when the last try has failed: after so many times in a row it is switched off."""
        hook.failures += 1
        if hook.failures >= tenant.options.failures_until_disabled:
            hook.enabled = False

    # -- What a simulator should not need to touch ---------------------------------------------------------------

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
        self.wake = wake  # called when something may be due sooner than `work` said
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
        """Ends the sending threads. The sender must be closed before, or this waits for slow receivers."""
        self.pool.shutdown(wait=True, cancel_futures=True)

    def serves_path(self, path: str) -> bool:
        """Whether a path belongs to this provider's API."""
        return any(path == prefix or path.startswith(prefix + "/") for prefix in self.paths)

    def select_tenants(self, session: LoginName | None) -> list[Tenant[H, O]]:
        """The tenants that a control call is about: one, or both."""
        return [self.tenants[session]] if session else list(self.tenants.values())

    def respond(self, call: Call) -> Response | NoResponse:
        """Answers a management call, goes wrong where that was asked for, and remembers the call."""
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
            return self.serve(tenant, call)
        fault = tenant.faults.popleft()
        if fault.status:
            reply = self.error_response(fault.status)
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return Response(reply.status, reply.body, {**reply.headers, **wait})
        if fault.redirect:
            return Response(302, headers={"Location": "/moved"})
        if fault.drop == "before":
            return NoResponse()
        self.handle(tenant, call)
        if fault.garbage:
            return Response(200, b'{"truncated": ["')
        if fault.huge:
            return Response(200, b'{"padding": "' + b"x" * HUGE_ANSWER_BYTES + b'"}')
        return NoResponse(fault.timeout or 0.0)

    # -- Control -------------------------------------------------------------------------------------------------

    def emit(
        self,
        tenants: Iterable[Tenant[H, O]],
        *,
        event_type: str | None = None,
        count: int = 1,
        duplicate: bool = False,
        bad_signature: bool = False,
        remote_id: str | None = None,
    ) -> list[Delivery]:
        """Sends `count` events to every live webhook (or to the named one) and waits for the first tries.

        A type that the provider knows goes to webhooks that want it; a type that nobody knows goes to all; no type
        means a random one that the webhook wants. Webhooks of one tenant that want the same event share it. A wrong
        signature is a one-off: it is not tried again and not counted as a failure.
        """
        with self.lock:
            batches = [
                batch
                for tenant in tenants
                for hook_id, events in self._emission(tenant, event_type, count, remote_id).items()
                for batch in self._batches(tenant, hook_id, events, bad_signature=bad_signature)
            ]
        done: list[Delivery] = []
        for _ in range(2 if duplicate else 1):
            futures = [self._submit(batch) for batch in batches]
            done += [delivery for delivery in (future.result() for future in futures) if delivery]
        return done

    def _emission(
        self, tenant: Tenant[H, O], event_type: str | None, count: int, remote_id: str | None
    ) -> dict[str, list[Event]]:
        hooks = [hook for hook in tenant.live_hooks() if remote_id in (None, hook.remote_id)]
        owed: dict[str, list[Event]] = {hook.remote_id: [] for hook in hooks}
        for hook in hooks:
            wanted = [event_type] if event_type else list(self.event_types)
            wanted = [name for name in wanted if self._gets_type(hook, name)]
            while wanted and len(owed[hook.remote_id]) < count:
                event = self.make_event(tenant, self.random.choice(wanted), hook)
                for other in hooks:
                    if len(owed[other.remote_id]) < count and (other is hook or self._gets(other, event)):
                        owed[other.remote_id].append(event)
        return owed

    def set_stream(self, tenants: Iterable[Tenant[H, O]], per_minute: float) -> None:
        """How many events happen at each tenant by themselves; 0 is quiet."""
        with self.lock:
            for tenant in tenants:
                tenant.per_minute = per_minute
                tenant.next_event_at = 0.0
        self.wake()

    def add_fault(self, tenants: Iterable[Tenant[H, O]], fault: Fault) -> None:
        """Queues a fault; `times: 0` clears the queue."""
        with self.lock:
            for tenant in tenants:
                if not fault.times:
                    tenant.faults.clear()
                tenant.faults.extend([fault] * fault.times)

    def age(self, tenants: Iterable[Tenant[H, O]], seconds: float) -> None:
        """Moves every stored deadline back, as if so much time had passed. The clock itself stays right."""
        with self.lock:
            for tenant in tenants:
                for hook in tenant.hooks.values():
                    if hook.expires_at is not None:
                        hook.expires_at -= seconds
                tenant.retries = [replace(batch, due_at=batch.due_at - seconds) for batch in tenant.retries]
                self.age_own_state(tenant, seconds)
        self.wake()

    def set_options(self, tenants: Iterable[Tenant[H, O]], changes: Mapping[str, object]) -> None:
        """Merges changes into the options. Raises pydantic's ValidationError before anything is changed."""
        with self.lock:
            merged = [
                (tenant, self.options_model.model_validate_json(json.dumps({**tenant.options.model_dump(), **changes})))
                for tenant in tenants
            ]
            for tenant, options in merged:
                tenant.options = options

    def change_remote(
        self,
        tenants: Iterable[Tenant[H, O]],
        remote_id: str,
        *,
        status: str | None = None,
        deleted: bool = False,
        config: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Changes or deletes a webhook behind our back. Raises KeyError when no tenant has it."""
        with self.lock:
            tenant = next((tenant for tenant in tenants if remote_id in tenant.hooks), None)
            if tenant is None:
                raise KeyError(remote_id)
            if deleted:
                del tenant.hooks[remote_id]
                return {"deleted": True}
            hook = tenant.hooks[remote_id]
            self.change(tenant, hook, status=status, config=config)
            return self._describe(tenant, hook)

    def has_hook(self, tenants: Iterable[Tenant[H, O]], remote_id: str) -> bool:
        """Whether one of the tenants has this webhook."""
        with self.lock:
            return any(remote_id in tenant.hooks for tenant in tenants)

    def state(self, tenants: Collection[Tenant[H, O]]) -> dict[str, object]:
        """Everything there is to see. Deliveries and calls are the recent ones, oldest first."""
        logins = {tenant.login for tenant in tenants}
        with self.lock:
            return {
                "remote": [self._describe(tenant, hook) for tenant in tenants for hook in tenant.hooks.values()],
                "deliveries": [item.describe() for item in self.deliveries if item.batch.login in logins],
                "retries": [batch.describe() for tenant in tenants for batch in tenant.retries],
                "calls": [call for call in self.calls if call["login"] is None or call["login"] in logins],
                "options": {tenant.login: tenant.options.model_dump(mode="json") for tenant in tenants},
                "stream": {tenant.login: {"per_minute": tenant.per_minute} for tenant in tenants},
                "faults": {tenant.login: len(tenant.faults) for tenant in tenants},
            }

    def _describe(self, tenant: Tenant[H, O], hook: H) -> dict[str, object]:
        return {
            **self.details(tenant, hook),
            "remote_id": hook.remote_id,
            "login": tenant.login,
            "url": hook.url,
            "enabled": hook.enabled,
            "expires_at": iso(hook.expires_at),
            "created_at": iso(hook.created_at),
            "failures": hook.failures,
        }

    # -- Stream and deliveries -----------------------------------------------------------------------------------

    def run_due(self) -> float:
        """Starts what is due; returns when the next thing is (Unix seconds)."""
        with self.lock:
            due = [
                batch
                for tenant in self.tenants.values()
                for batch in (*self._due_retries(tenant), *self._due_events(tenant))
            ]
            times = [batch.due_at for tenant in self.tenants.values() for batch in tenant.retries]
            times += [tenant.next_event_at for tenant in self.tenants.values() if tenant.per_minute]
        for batch in due:
            self._submit(batch).add_done_callback(_report)
        return min(times, default=NEVER)

    def _due_retries(self, tenant: Tenant[H, O]) -> list[Batch]:
        now = time.time()
        due = [batch for batch in tenant.retries if batch.due_at <= now]
        tenant.retries = [batch for batch in tenant.retries if batch.due_at > now]
        return due

    def _due_events(self, tenant: Tenant[H, O]) -> list[Batch]:
        now = time.time()
        if not tenant.per_minute or now < tenant.next_event_at:
            return []
        number = self.random.choices((1, 2, 3, 4), (85, 8, 4, 3))[0]
        tenant.next_event_at = now + number * 60 / tenant.per_minute * self.random.uniform(0.5, 1.5)
        hooks = tenant.live_hooks() if tenant.in_flight < MAX_IN_FLIGHT else []
        events = [event for _ in range(number) if (event := self._next_event(tenant, hooks))]
        return [
            batch
            for hook in hooks
            for batch in self._batches(tenant, hook.remote_id, [e for e in events if self._gets(hook, e)], whole=True)
        ]

    def _next_event(self, tenant: Tenant[H, O], hooks: Sequence[H]) -> Event | None:
        """The next card of the tenant's shuffled upcoming_types that anybody wants: so all types come round soon."""
        wanted = {name for name in self.event_types if any(self.matches_type(hook, name) for hook in hooks)}
        if not wanted:
            return None
        tenant.upcoming_types = [name for name in tenant.upcoming_types if name in wanted]
        if not tenant.upcoming_types:
            tenant.upcoming_types = sorted(wanted)
            self.random.shuffle(tenant.upcoming_types)
        name = tenant.upcoming_types.pop()
        return self.make_event(
            tenant, name, self.random.choice([hook for hook in hooks if self.matches_type(hook, name)])
        )

    def _gets_type(self, hook: H, event_type: str) -> bool:
        """A type that none of their lists knows goes to everybody."""
        return event_type not in self.event_types or self.matches_type(hook, event_type)

    def _gets(self, hook: H, event: Event) -> bool:
        return event.type not in self.event_types or self.matches(hook, event)

    def _batches(
        self,
        tenant: Tenant[H, O],
        remote_id: str,
        events: Sequence[Event],
        *,
        bad_signature: bool = False,
        whole: bool = False,
    ) -> list[Batch]:
        """Cuts events into calls: of random sizes, or (`whole`) as few as possible."""
        limit = self.batch_limit(tenant)
        batches: list[Batch] = []
        start = 0
        while start < len(events):
            end = start + (limit if whole else self.random.randint(1, limit))
            batches.append(
                Batch(
                    login=tenant.login,
                    remote_id=remote_id,
                    events=tuple(events[start:end]),
                    bad_signature=bad_signature,
                )
            )
            start = end
        return batches

    def _submit(self, batch: Batch) -> Future[Delivery | None]:
        with self.lock:
            self.tenants[batch.login].in_flight += 1
        return self.pool.submit(self._deliver, batch)

    def _deliver(self, batch: Batch) -> Delivery | None:
        """One try. None when the webhook is gone, off or expired by now: then nothing is sent."""
        tenant = self.tenants[batch.login]
        try:
            with self.lock:
                hook = tenant.hooks.get(batch.remote_id)
                if hook is None or not hook.is_live(time.time()):
                    return None
                call = self.build_webhook_call(tenant, hook, batch.events, bad_signature=batch.bad_signature)
            receipt = self.send(tenant, hook, call)
            with self.lock:
                next_at = self._settle(tenant, hook, batch, receipt.status)
                delivery = Delivery(
                    batch=batch, at=time.time(), status=receipt.status, failure=receipt.failure, next_at=next_at
                )
                self.deliveries.append(delivery)
                return delivery
        finally:
            with self.lock:
                tenant.in_flight -= 1

    def _settle(self, tenant: Tenant[H, O], hook: H, batch: Batch, status: int | None) -> float | None:
        """What follows from a try: nothing, another one (its time is returned), or a permanent failure."""
        if batch.bad_signature:
            return None
        if status is not None and self.is_received(status):
            hook.failures = 0
            return None
        delays = self.retry_delays(tenant, hook)
        if self.should_retry(status) and batch.number <= len(delays):
            due_at = time.time() + delays[batch.number - 1]
            tenant.retries.append(replace(batch, number=batch.number + 1, due_at=due_at))
            self.wake()
            return due_at
        self.handle_failed_delivery(tenant, hook, batch)
        return None


AnySimulator = Simulator[Any, Any]


def _report(future: Future[Delivery | None]) -> None:
    """Nobody waits for the stream and for retries, so an error in them must speak for itself."""
    if not future.cancelled() and (error := future.exception()):
        log.error("a simulated delivery failed", exc_info=error)
