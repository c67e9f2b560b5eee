"""A simulated world for lifecycle tests: one account at a provider's simulator, faults, and killed workers.

Only the test moves the clock, and foreign webhooks exist beside ours. There are no sockets and no threads, so that many
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
ROOM = ("max_webhooks", "max_active")  # names of the simulators' options for their limit of webhooks
SLUGS = tuple(all_providers())


class Death(BaseException):
    """Stand for a kill; the code under test must not catch it."""


class Reaper:
    """Kill a worker right before its n-th lasting effect: a write outside a transaction, a commit, or a call.

    Right before the next effect is right after the previous one. An open transaction is lost, and nothing that would
    run afterwards has an effect: claims stay."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.dead, self._depth = at, False, 0
        self.events: list[str] = []

    def lasting(self, what: str) -> None:
        """Count a lasting effect that is about to happen, or die."""
        if self.dead or len(self.events) == self.at:
            self.dead = True
            raise Death(f"before {what}")
        self.events.append(what)

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Wrap a query, for Django's `execute_wrapper`.

        Within the transaction of a test, those of the code are savepoints."""
        word = sql.split(None, 1)[0].upper()
        if self.dead and word not in ("ROLLBACK", "RELEASE"):
            raise Death("already dead")
        if word == "SAVEPOINT":
            self._depth += 1
        elif word == "RELEASE":
            self._depth -= 1
            if self._depth == 0 and not self.dead:
                self._commit(execute, sql, params, many, context)
        elif word in ("INSERT", "UPDATE", "DELETE") and self._depth == 0:
            self.lasting(" ".join((word, sql.split('"')[1])))
        return execute(sql, params, many, context)

    def _commit(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> None:
        try:
            self.lasting("commit")
        except Death:
            execute(sql.replace("RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"), params, many, context)
            raise


class World:
    """One account and what its provider has. `clock` is both our clock and the provider's."""

    def __init__(self, slug: str, clock: time_machine.Traveller) -> None:
        self.slug, self.clock, self.contract = slug, clock, contract_of(slug)
        self.can: Capabilities = all_providers()[slug].capabilities
        kind = next(kind for kind in find_simulators() if kind.slug == slug)
        self.simulator = kind(SANDBOX, sender=WebhookSender({}), options={"lease_seconds": LEASE}, seed=1)
        self.spare, self.demo = self.simulator.tenants.values()
        self.reaper: Reaper | None = None
        self.during_call: Callable[[], None] = lambda: None
        self.our_clock_is_off_by = timedelta(0)
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
    def alive(self) -> Iterator[World]:
        """Send calls to the simulator, and let our receiver answer."""
        with ExitStack() as stack:
            stack.callback(self.simulator.close)
            stack.enter_context(mock.patch.object(GuardedAdapter, "send", self._send))
            stack.enter_context(mock.patch.object(receiver_probe, "find_receiver_error", return_value=None))
            stack.enter_context(mock.patch.object(timezone, "now", self._our_clock))
            sleeper = SimpleNamespace(sleep=self.pass_time, monotonic=time.monotonic)
            stack.enter_context(mock.patch.object(rate_limiter, "time", sleeper))  # waits cost no real time
            yield self

    def _our_clock(self) -> datetime:
        return datetime.now(UTC) + self.our_clock_is_off_by

    # -- The network ---------------------------------------------------------------------------------------------------

    def _send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        if self.reaper:
            self.reaper.lasting("call")
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

    def knows(self, option: str) -> bool:
        """Return whether the simulator has this option."""
        return option in type(self.simulator).options_model.model_fields

    def option(self, **changes: object) -> None:
        """Set options of the simulator. Raises KeyError for one that it does not have."""
        for name in changes:
            if not self.knows(name):
                raise KeyError(name)
        self.simulator.set_options([self.spare], changes)

    @property
    def limit(self) -> str | None:
        """The option that limits the number of webhooks."""
        return next((name for name in ROOM if self.knows(name)), None)

    def room_for(self, ours: int) -> None:
        """Limit the number of our webhooks, beside the foreign ones."""
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

    def behind_our_back(self, remote_id: str, **change: Any) -> None:
        """Change a webhook at the provider, as another person would."""
        self.simulator.change_remote([self.spare], remote_id, **change)

    def register(self, row: Subscription) -> RemoteSubscription:
        """Register a webhook for this subscription that is not recorded here, as a crash would leave it."""
        return self._register(row.callback_url, row.config, next(iter(row.secrets), None))

    def somebody_registers(self, url: str) -> None:
        """Register a foreign webhook with the same credentials, as another program would."""
        made = self._register(url, self.contract.config, "a-secret-of-somebody-else")
        self.foreign[made.remote_id] = self._state(made.remote_id)

    def _register(self, url: str, config: Mapping[str, object], secret: str | None) -> RemoteSubscription:
        plugin, waiting = all_providers()[self.slug], list(self.spare.faults)
        self.spare.faults.clear()
        by_us = plugin.capabilities.secret_made_by is SecretMadeBy.US
        typed = validate(plugin.config_model, dict(config))
        with mock.patch.object(self, "reaper", None), http.Http(guard=session.address_guard()) as line:
            login: ProviderSession[Any, Any] = ProviderSession(
                settings=self.account.typed_settings,
                credentials=validate(plugin.credentials_model, self.account.credentials),
                http=line,
            )
            made = plugin.register(
                login, Registration(callback_url=url, config=typed, secret=secret if by_us else None, name="Other")
            )
        self.spare.faults.extend(waiting)
        return made

    def _state(self, remote_id: str) -> dict[str, Any]:
        state: dict[str, Any] = asdict(self.spare.hooks[remote_id])
        ends = state["expires_at"]
        return {**state, "expires_at": ends and round(ends + self.aged, 3)}

    def changes(self) -> dict[str, object]:
        """Return another config, without the immutable fields."""
        fixed = self.can.immutable_fields
        return {name: value for name, value in self.contract.other_config.items() if name not in fixed}

    # -- Hookkeeper ----------------------------------------------------------------------------------------------------

    def subscribe(self, **wishes: Any) -> Subscription:
        """Create a subscription, which is due at once."""
        return desired_state.subscribe(self.account, by="staff:ann", config=self.contract.config, **wishes)

    def begin(self, **wishes: Any) -> Subscription:
        """Create a subscription and wait until it is registered and healthy."""
        row = self.subscribe(**wishes)
        self.settle(row)
        return row

    def sweep(self) -> None:
        """Let a worker do the due work."""
        sweep.sweep_inline()

    def sweep_and_die(self, reaper: Reaper) -> None:
        """Let a worker do the due work until it is killed."""
        with connection.execute_wrapper(reaper), mock.patch.object(self, "reaper", reaper), suppress(Death):
            sweep.sweep_inline()
        connection.needs_rollback = False  # a single statement has no savepoint that resets it

    def pass_time(self, seconds: float) -> None:
        """Advance the clock of everybody."""
        self.clock.shift(seconds)

    def settle(self, *rows: Subscription, passes: int = 6, apart: float = CLAIMS_END) -> None:
        """Check that the rows converge within this number of passes."""
        for _ in range(passes):
            self.sweep()
            if all(self.trouble(row) is None for row in rows):
                break
            self.pass_time(apart)
        for row in rows:
            assert self.trouble(row) is None, self.story(row)
        self.foreign_untouched()

    def trouble(self, row: Subscription) -> str | None:
        """Return what is wrong with a row that should have converged, or None."""
        row.refresh_from_db()
        hooks = self.hooks(row)
        working = [hook for hook in hooks if works(hook)]
        if row.operations.filter(status=OperationStatus.RUNNING).exists():
            return "an operation looks as if it were running"
        if not row.present:
            return None if (row.state, hooks) == (State.DELETED, []) else "it is not gone"
        if not row.enabled:
            return None if (row.state, working) == (State.DISABLED, []) else "it is not off"
        reported = row.state == State.DRIFTED and row.drift_policy == DriftPolicy.REPORT
        if row.state != State.ACTIVE and not reported:
            return f"it is {row.state}"
        if [hook.remote_id for hook in hooks] != [row.remote_id] or working != hooks:
            return "there is not exactly one, and that ours"
        if self.can.secret_made_by is SecretMadeBy.PROVIDER and row.secret_for != row.remote_id:
            return "its secret is not known"
        return None if not row.drift or reported else "it differs"

    def foreign_untouched(self) -> None:
        """Check that the foreign webhooks are unchanged, byte by byte."""
        for remote_id, before in self.foreign.items():
            assert remote_id in self.spare.hooks, f"{remote_id} was deleted, and it is not ours"
            assert self._state(remote_id) == before

    def story(self, row: Subscription) -> str:
        """Return the history of a row, for the message of a failed test."""
        steps = [f"{o.action} {o.remote_id} {o.status}: {o.reason} {o.error or ''}" for o in row.operations.all()[::-1]]
        account = ProviderAccount.with_deleted.get(pk=self.account.pk)
        facts = (row.state, row.state_reason, row.last_error, row.due_at, row.remote_id, account.calls_paused_reason)
        there = [asdict(hook) for hook in self.hooks(row)]
        calls = [(c["method"], c["path"], c["status"]) for c in list(self.simulator.calls)[-20:]]
        return "\n".join(map(str, (self.trouble(row), facts, *there, "--", *steps, "--", *calls, timezone.now())))

    # -- Repeating -----------------------------------------------------------------------------------------------------

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo at the end what happens inside: in the database, at the provider, on the clock."""
        at, now = transaction.savepoint(), timezone.now()
        tenants, foreign, aged = copy.deepcopy(self.simulator.tenants), copy.deepcopy(self.foreign), self.aged
        own = {name: copy.deepcopy(value) for name, value in vars(self.simulator).items() if name in self._own}
        try:
            yield
        finally:
            transaction.savepoint_rollback(at)
            transaction.savepoint_commit(at)
            self.simulator.tenants, self.foreign, self.aged = tenants, foreign, aged
            vars(self.simulator).update(own)
            self.spare, self.demo = tenants.values()
            self.clock.move_to(now)

    @property
    def _own(self) -> Sequence[str]:
        """The state of the simulator beside its tenants: call budgets, counters, tokens."""
        kept = ("base_url", "sender", "wake", "random", "lock", "calls", "deliveries", "pool", "tenants")
        return [name for name in vars(self.simulator) if name not in kept]


def works(hook: Any) -> bool:
    """Return whether a webhook is enabled and its lease has not ended."""
    return hook.enabled and (hook.expires_at is None or hook.expires_at > time.time())


@contextmanager
def a_world(slug: str) -> Iterator[World]:
    """Create a world with two foreign webhooks."""
    with (
        override_settings(SANDBOX_URL=SANDBOX),
        time_machine.travel(timezone.now(), tick=True) as clock,
        World(slug, clock).alive() as world,
    ):
        world.somebody_registers("https://elsewhere.example.test/in")
        world.somebody_registers("https://elsewhere.example.test/hooks/somebody-elses-token")
        yield world
