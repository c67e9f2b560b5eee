"""A simulated world for lifecycle tests: one account at a provider's simulator, faults, and killed workers.

The test advances the clock, and foreign webhooks exist besides ours. There are no sockets and no threads, so that many
lifetimes fit into a minute; all of our code above the socket is real.
"""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import requests
import time_machine
import urllib3
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone
from requests.adapters import HTTPAdapter

from providers.accounts import rate_limiter, session
from providers.contract import http
from providers.contract.address_guard import GuardedAdapter
from providers.contract.base import Registration, RemoteSubscription
from providers.contract.capabilities import Capabilities, SecretMadeBy
from providers.contract.registry import all_providers
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.models import ProviderAccount
from providers.sandbox.calls import Call, Response
from providers.sandbox.server import find_simulators
from providers.sandbox.tenant import Fault
from providers.sandbox.webhook_sender import WebhookSender
from subscriptions.lifecycle import accounts, desired_state, receiver_probe
from subscriptions.models import OperationStatus, State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.reconciliation import sweep
from tests.harness.provider_contract import contract_of

SANDBOX = "http://127.0.0.1:8010"
LEASE = 3600.0  # seconds; much longer than claims, because those of killed workers must end first
CLAIMS_END = 125.0  # seconds after which a killed worker holds no claim
LIMIT_OPTIONS = ("max_webhooks", "max_active")  # names of the simulators' options for their limit of webhooks
SLUGS = tuple(all_providers())


class WorkerKilled(BaseException):
    """Simulate the kill of a worker. The code under test must not catch it."""


class WorkerKiller:
    """Kill a worker right before its n-th lasting effect: a write outside a transaction, a commit, or a call.

    Right before the next effect is right after the previous one. An open transaction is rolled back, and code that
    still runs has no effect, so claims are not released.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at, self.dead, self._depth = at, False, 0
        self.events: list[str] = []

    def record_effect(self, effect: str) -> None:
        """Record a lasting effect that is about to happen, or kill the worker instead."""
        if self.dead or len(self.events) == self.at:
            self.dead = True
            raise WorkerKilled(f"before {effect}")
        self.events.append(effect)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Wrap a query, for Django's `execute_wrapper`.

        Within the transaction of a test, transactions of the code are savepoints.
        """
        verb = sql.split(None, 1)[0].upper()
        if self.dead and verb not in ("ROLLBACK", "RELEASE"):
            raise WorkerKilled("already dead")
        if verb == "SAVEPOINT":
            self._depth += 1
        elif verb == "RELEASE":
            self._depth -= 1
            if self._depth == 0 and not self.dead:
                self._commit(execute, sql, params, many, context)
        elif verb in ("INSERT", "UPDATE", "DELETE") and self._depth == 0:
            self.record_effect(" ".join((verb, sql.split('"')[1])))
        return execute(sql, params, many, context)

    def _commit(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> None:
        try:
            self.record_effect("commit")
        except WorkerKilled:
            execute(sql.replace("RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"), params, many, context)
            raise


class World:
    """One account and the webhooks at its provider. `clock` is both our clock and the provider's."""

    def __init__(self, slug: str, clock: time_machine.Traveller) -> None:
        self.slug, self.clock, self.contract = slug, clock, contract_of(slug)
        self.can: Capabilities = all_providers()[slug].capabilities
        kind = next(kind for kind in find_simulators() if kind.slug == slug)
        self.simulator = kind(SANDBOX, sender=WebhookSender({}), options={"lease_seconds": LEASE}, seed=1)
        self.spare, self.demo = self.simulator.tenants.values()
        self.killer: WorkerKiller | None = None
        self.during_call: Callable[[], None] = lambda: None
        self.clock_offset = timedelta(0)
        self.aged = 0.0  # seconds by which the provider's clock is ahead
        self.foreign: dict[str, dict[str, Any]] = {}
        with suppress(KeyError):
            self.option(calls_per_second=None)
        facts = self.spare.account
        fields = all_providers()[slug].settings_model.model_fields
        pace = {"calls_per_second": 100} if "calls_per_second" in fields else {}
        self.account = accounts.add_account(
            provider=slug,
            name="World",
            settings={**facts.settings, **pace},
            credentials=dict(facts.credentials),
            by="staff:ann",
        )

    @contextmanager
    def running(self) -> Iterator[World]:
        """Send calls to the simulator, and let our receiver answer."""
        with ExitStack() as stack:
            stack.callback(self.simulator.close)
            stack.enter_context(mock.patch.object(GuardedAdapter, "send", self._send))
            stack.enter_context(mock.patch.object(receiver_probe, "find_receiver_error", return_value=None))
            stack.enter_context(mock.patch.object(timezone, "now", self._our_clock))
            sleeper = SimpleNamespace(sleep=self.advance_clock, monotonic=time.monotonic)
            stack.enter_context(mock.patch.object(rate_limiter, "time", sleeper))  # waits cost no real time
            yield self

    def _our_clock(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    # -- The network ---------------------------------------------------------------------------------------------------

    def _send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        if self.killer:
            self.killer.record_effect("call")
        parts = urlsplit(request.url or "")
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(method=request.method or "", path=parts.path, query=parts.query, headers=headers, body=body)
        outcome = self.simulator.respond(call)
        self.during_call()
        if not isinstance(outcome, Response):
            if outcome.seconds:
                raise requests.exceptions.ReadTimeout(request=request)
            raise requests.exceptions.ConnectionError("The connection was closed.", request=request)
        raw = urllib3.HTTPResponse(
            io.BytesIO(outcome.content()), headers=outcome.headers, status=outcome.status, preload_content=False
        )
        return HTTPAdapter().build_response(request, raw)

    # -- The provider --------------------------------------------------------------------------------------------------

    def has_option(self, option: str) -> bool:
        """Return whether the simulator has this option."""
        return option in type(self.simulator).options_model.model_fields

    def option(self, **changes: object) -> None:
        """Set options of the simulator. Raises KeyError for one that it does not have."""
        for name in changes:
            if not self.has_option(name):
                raise KeyError(name)
        self.simulator.set_options([self.spare], changes)

    @property
    def limit(self) -> str | None:
        """The option that limits the number of webhooks."""
        return next((name for name in LIMIT_OPTIONS if self.has_option(name)), None)

    def limit_webhooks(self, ours: int) -> None:
        """Limit the number of our webhooks, not counting the foreign ones."""
        assert self.limit
        self.option(**{self.limit: ours + len(self.foreign)})

    def faults(self, *faults: Mapping[str, Any]) -> None:
        """Replace the faults that the next calls meet, in this order."""
        self.spare.faults.clear()
        for fault in faults:
            self.simulator.add_fault([self.spare], Fault(**fault))

    def age(self, seconds: float) -> None:
        """Advance only the provider's clock."""
        self.simulator.age([self.spare], seconds)
        self.aged += seconds

    def hooks(self, row: Subscription | None = None) -> list[Any]:
        """Return the webhooks at the provider: of this subscription, or all of ours."""
        urls = None if row is None else {row.callback_url, *row.former_callback_urls}
        return [
            hook
            for hook in self.spare.hooks.values()
            if (hook.url in urls if urls is not None else hook.remote_id not in self.foreign)
        ]

    def change_remotely(self, remote_id: str, **change: Any) -> None:
        """Change a webhook at the provider, as another person would."""
        self.simulator.change_remote([self.spare], remote_id, **change)

    def register(self, row: Subscription) -> RemoteSubscription:
        """Register a webhook for this subscription that is not recorded here, as a crash would leave it."""
        return self._register(row.callback_url, row.config, next(iter(row.secrets), None))

    def register_foreign(self, url: str) -> None:
        """Register a foreign webhook with the same credentials, as another program would."""
        remote = self._register(url, self.contract.config, "a-secret-of-somebody-else")
        self.foreign[remote.remote_id] = self._state(remote.remote_id)

    def _register(self, url: str, config: Mapping[str, object], secret: str | None) -> RemoteSubscription:
        plugin, pending_faults = all_providers()[self.slug], list(self.spare.faults)
        self.spare.faults.clear()
        by_us = plugin.capabilities.secret_made_by is SecretMadeBy.US
        typed = validate(plugin.config_model, dict(config))
        with mock.patch.object(self, "killer", None), http.Http(guard=session.address_guard()) as line:
            login: ProviderSession[Any, Any] = ProviderSession(
                settings=self.account.typed_settings,
                credentials=validate(plugin.credentials_model, self.account.credentials),
                http=line,
            )
            remote = plugin.register(
                login, Registration(callback_url=url, config=typed, secret=secret if by_us else None, name="Other")
            )
        self.spare.faults.extend(pending_faults)
        return remote

    def _state(self, remote_id: str) -> dict[str, Any]:
        state: dict[str, Any] = asdict(self.spare.hooks[remote_id])
        ends = state["expires_at"]
        return {**state, "expires_at": ends and round(ends + self.aged, 3)}

    def changes(self) -> dict[str, object]:
        """Return another config, without the immutable fields."""
        fixed = self.can.immutable_fields
        return {name: value for name, value in self.contract.other_config.items() if name not in fixed}

    # -- Hookkeeper ----------------------------------------------------------------------------------------------------

    def subscribe(self, **options: Any) -> Subscription:
        """Create a subscription, which is due at once."""
        return desired_state.subscribe(self.account, by="staff:ann", config=self.contract.config, **options)

    def subscribe_and_settle(self, **options: Any) -> Subscription:
        """Create a subscription and wait until it is registered and healthy."""
        row = self.subscribe(**options)
        self.settle(row)
        return row

    def sweep(self) -> None:
        """Run a worker's sweep."""
        sweep.sweep_inline()

    def sweep_and_die(self, killer: WorkerKiller) -> None:
        """Run a worker's sweep until the worker is killed."""
        with connection.execute_wrapper(killer), mock.patch.object(self, "killer", killer), suppress(WorkerKilled):
            sweep.sweep_inline()
        connection.needs_rollback = False  # a single statement has no savepoint that resets it

    def advance_clock(self, seconds: float) -> None:
        """Advance our clock and the provider's."""
        self.clock.shift(seconds)

    def settle(self, *rows: Subscription, passes: int = 6, apart: float = CLAIMS_END) -> None:
        """Check that the rows converge within this number of passes."""
        for _ in range(passes):
            self.sweep()
            if all(self.why_not_converged(row) is None for row in rows):
                break
            self.advance_clock(apart)
        for row in rows:
            assert self.why_not_converged(row) is None, self.history_of(row)
        self.assert_foreign_unchanged()

    def why_not_converged(self, row: Subscription) -> str | None:
        """Return why a row has not converged to its desired state, or None if it has."""
        row.refresh_from_db()
        hooks = self.hooks(row)
        working = [hook for hook in hooks if works(hook)]
        if row.operations.filter(status=OperationStatus.RUNNING).exists():
            return "an operation is still marked as running"
        if not row.present:
            return None if (row.state, hooks) == (State.DELETED, []) else "it is not deleted"
        if not row.enabled:
            return None if (row.state, working) == (State.DISABLED, []) else "it is not disabled"
        reported = row.state == State.DRIFTED and row.drift_policy == DriftPolicy.REPORT
        if row.state != State.ACTIVE and not reported:
            return f"it is {row.state}"
        if [hook.remote_id for hook in hooks] != [row.remote_id] or working != hooks:
            return "the provider does not have exactly one working webhook with the recorded ID"
        if self.can.secret_made_by is SecretMadeBy.PROVIDER and row.secret_for != row.remote_id:
            return "its secret is not known"
        return None if not row.drift or reported else "it differs"

    def assert_foreign_unchanged(self) -> None:
        """Check that the foreign webhooks are unchanged, byte by byte."""
        for remote_id, before in self.foreign.items():
            assert remote_id in self.spare.hooks, f"the foreign webhook {remote_id} was deleted"
            assert self._state(remote_id) == before

    def history_of(self, row: Subscription) -> str:
        """Return the history of a row, for the message of a failed test."""
        steps = [f"{o.action} {o.remote_id} {o.status}: {o.reason} {o.error or ''}" for o in row.operations.all()[::-1]]
        account = ProviderAccount.with_deleted.get(pk=self.account.pk)
        facts = (row.state, row.state_reason, row.last_error, row.due_at, row.remote_id, account.calls_paused_reason)
        hooks = [asdict(hook) for hook in self.hooks(row)]
        calls = [(c["method"], c["path"], c["status"]) for c in list(self.simulator.calls)[-20:]]
        return "\n".join(
            map(str, (self.why_not_converged(row), facts, *hooks, "--", *steps, "--", *calls, timezone.now()))
        )

    # -- Repeating -----------------------------------------------------------------------------------------------------

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Undo all changes of the block: in the database, at the provider, and of the clock."""
        savepoint, now = transaction.savepoint(), timezone.now()
        tenants, foreign, aged = copy.deepcopy(self.simulator.tenants), copy.deepcopy(self.foreign), self.aged
        state = {name: copy.deepcopy(value) for name, value in vars(self.simulator).items() if name in self._own_state}
        try:
            yield
        finally:
            transaction.savepoint_rollback(savepoint)
            transaction.savepoint_commit(savepoint)
            self.simulator.tenants, self.foreign, self.aged = tenants, foreign, aged
            vars(self.simulator).update(state)
            self.spare, self.demo = tenants.values()
            self.clock.move_to(now)

    @property
    def _own_state(self) -> Sequence[str]:
        """The names of the simulator's state besides its tenants: call budgets, counters, tokens."""
        unchanged = ("base_url", "sender", "wake", "random", "lock", "calls", "deliveries", "pool", "tenants")
        return [name for name in vars(self.simulator) if name not in unchanged]


def works(hook: Any) -> bool:
    """Return whether a webhook is enabled and its lease has not ended."""
    return hook.enabled and (hook.expires_at is None or hook.expires_at > time.time())


@contextmanager
def create_world(slug: str) -> Iterator[World]:
    """Create a world with two foreign webhooks."""
    with (
        override_settings(SANDBOX_URL=SANDBOX),
        time_machine.travel(timezone.now(), tick=True) as clock,
        World(slug, clock).running() as world,
    ):
        world.register_foreign("https://elsewhere.example.test/in")
        world.register_foreign("https://elsewhere.example.test/hooks/somebody-elses-token")
        yield world
