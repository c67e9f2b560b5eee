"""The sending side of a simulator: events on request, the stream of random events, deliveries and retries."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from providers.sandbox.odd_bodies import with_odd_first_event
from providers.sandbox.simulated_api import SimulatedApi
from providers.sandbox.tenant import Batch, Delivery, Event, H, O, Tenant

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 64  # webhook calls of a tenant that wait for a response; at that number the stream pauses
NEVER = float("inf")
STREAM_BURSTS = {1: 85, 2: 8, 3: 4, 4: 3}  # number of simultaneous events, and its share in percent


class DeliveringSimulator(SimulatedApi[H, O]):
    """Adds events and their deliveries to the simulated API."""

    # -- Events on request ---------------------------------------------------------------------------------------

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
        """Send `count` events to every live webhook, or to the named one, and wait for the first attempts.

        A type that the provider knows goes to the webhooks that match it, and an unknown type goes to all. Without a
        type, a random one that the webhook matches is used. Webhooks of one tenant share the same events. A webhook
        call with a bad signature is neither retried nor counted as a failure.
        """
        with self.lock:
            batches = [
                batch
                for tenant in tenants
                for hook_id, events in self._emission(tenant, event_type, count, remote_id).items()
                for batch in self._batches(tenant, hook_id, events, bad_signature=bad_signature)
            ]
        deliveries: list[Delivery] = []
        for _ in range(2 if duplicate else 1):
            futures = [self._submit(batch) for batch in batches]
            deliveries += [delivery for delivery in (future.result() for future in futures) if delivery]
        return deliveries

    def _emission(
        self, tenant: Tenant[H, O], event_type: str | None, count: int, remote_id: str | None
    ) -> dict[str, list[Event]]:
        hooks = [hook for hook in tenant.live_hooks() if remote_id in (None, hook.remote_id)]
        events: dict[str, list[Event]] = {hook.remote_id: [] for hook in hooks}
        for hook in hooks:
            types = [event_type] if event_type else list(self.event_types)
            types = [name for name in types if self._receives_type(hook, name)]
            while types and len(events[hook.remote_id]) < count:
                event = self.make_event(tenant, self.random.choice(types), hook)
                for other in hooks:
                    if len(events[other.remote_id]) < count and (other is hook or self._receives(other, event)):
                        events[other.remote_id].append(event)
        return events

    # -- Stream and deliveries -----------------------------------------------------------------------------------

    def run_due(self) -> float:
        """Start due retries and stream events. Return the Unix time at which the next one is due."""
        with self.lock:
            due = [
                batch
                for tenant in self.tenants.values()
                for batch in (*self._due_retries(tenant), *self._due_events(tenant))
            ]
            times = [batch.due_at for tenant in self.tenants.values() for batch in tenant.retries]
            times += [tenant.next_event_at for tenant in self.tenants.values() if tenant.per_minute]
        for batch in due:
            self._submit(batch).add_done_callback(_log_error)
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
        count = self.random.choices(list(STREAM_BURSTS), list(STREAM_BURSTS.values()))[0]
        tenant.next_event_at = now + count * 60 / tenant.per_minute * self.random.uniform(0.5, 1.5)
        hooks = tenant.live_hooks() if tenant.in_flight < MAX_IN_FLIGHT else []
        events = [event for _ in range(count) if (event := self._next_event(tenant, hooks))]
        return [
            batch
            for hook in hooks
            for batch in self._batches(
                tenant, hook.remote_id, [e for e in events if self._receives(hook, e)], whole=True
            )
        ]

    def _next_event(self, tenant: Tenant[H, O], hooks: Sequence[H]) -> Event | None:
        """Return the next event of a type that a webhook matches. Every type is sent once before any is repeated."""
        types = {name for name in self.event_types if any(self.matches_type(hook, name) for hook in hooks)}
        if not types:
            return None
        tenant.upcoming_types = [name for name in tenant.upcoming_types if name in types]
        if not tenant.upcoming_types:
            tenant.upcoming_types = sorted(types)
            self.random.shuffle(tenant.upcoming_types)
        name = tenant.upcoming_types.pop()
        return self.make_event(
            tenant, name, self.random.choice([hook for hook in hooks if self.matches_type(hook, name)])
        )

    def _receives_type(self, hook: H, event_type: str) -> bool:
        """Return whether a webhook receives an event type. Types unknown to the provider go to every webhook."""
        return event_type not in self.event_types or self.matches_type(hook, event_type)

    def _receives(self, hook: H, event: Event) -> bool:
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
        """Split events into webhook calls of random sizes, or (`whole`) into as few as possible."""
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
        """Make one attempt. Return None without sending if the webhook is now deleted, disabled or expired."""
        tenant = self.tenants[batch.login]
        try:
            with self.lock:
                hook = tenant.hooks.get(batch.remote_id)
                if hook is None or not hook.is_live(time.time()):
                    return None
                events = with_odd_first_event(batch.events, tenant.options.odd_event)
                call = self.build_webhook_call(tenant, hook, events, bad_signature=batch.bad_signature)
            result = self.send(tenant, hook, call)
            with self.lock:
                next_at = self._record_outcome(tenant, hook, batch, result.status)
                delivery = Delivery(
                    batch=batch, at=time.time(), status=result.status, failure=result.failure, next_at=next_at
                )
                self.deliveries.append(delivery)
                return delivery
        finally:
            with self.lock:
                tenant.in_flight -= 1

    def _record_outcome(self, tenant: Tenant[H, O], hook: H, batch: Batch, status: int | None) -> float | None:
        """Record the outcome of an attempt. Return the time of the retry, if there is one."""
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


def _log_error(future: Future[Delivery | None]) -> None:
    """Log the error of a delivery whose result is not awaited."""
    if not future.cancelled() and (error := future.exception()):
        log.error("a simulated delivery failed", exc_info=error)
