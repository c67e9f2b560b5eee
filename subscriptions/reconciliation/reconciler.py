"""Observe, plan, apply. Safe to run at any time, twice, or after a crash at any line.

An operation is committed before each changing call, and its answer right after it. No call is made inside a
transaction. Whoever works on a subscription holds a claim on its row, and checks it before each call.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from providers.accounts import circuit_breaker
from providers.accounts.session import open_session
from providers.audit.actors import SCHEDULER
from providers.audit.state_changes import write
from providers.contract.base import Registration, RemoteSubscription
from providers.contract.call_limits import Priority
from providers.contract.capabilities import SecretMadeBy
from providers.contract.errors import (
    CallsPaused,
    InvalidInput,
    LimitReached,
    NotFound,
    PermissionMissing,
    PluginFailed,
    ProviderError,
    Refused,
    Unsupported,
)
from providers.contract.http import Exchange
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.db.claims import new_holder
from subscriptions.lifecycle import desired_state, receiver_probe, secret_rotation
from subscriptions.lifecycle.secrets import registration_of
from subscriptions.models import Managed, Operation, OperationStatus, Subscription
from subscriptions.planning.plan import (
    Change,
    DriftPolicy,
    Observed,
    Plan,
    Step,
    StepAction,
    Wait,
    Wanted,
    config_changes,
    config_to_keep,
    expired,
    plan,
    renewal_time,
)
from subscriptions.planning.step_selection import Choice, Incomplete, PlanChanged
from subscriptions.reconciliation.backoff import next_due, pause_after, urgency
from subscriptions.reconciliation.observe import Observation, observe, remember
from subscriptions.reconciliation.state import derive

logger = logging.getLogger(__name__)

MOST_STEPS = 12  # in one run; a plan that needs more is not converging
RECEIVER_RETRY = timedelta(seconds=20)
PAUSE_FIRST, PAUSE_LONGEST = 30.0, 6 * 3600.0  # seconds, before a switched-off one is switched on again
HEALTHY_AFTER = timedelta(minutes=15)  # switched on for that long, the pauses begin anew
SWITCH_OFFS_IN = timedelta(days=1)
MOST_SWITCH_OFFS = 10  # in that time; then only a person starts it again


class ClaimLost(Exception):
    """Our claim ended while we worked, or it was deleted meanwhile: somebody else may be at it, so we stop."""


class Boundary(StrEnum):
    """The places between the parts of a step. Whoever dies at one of them must leave nothing that the next run does
    not put right."""

    PLANNED = "planned"  # nothing is written down yet
    RECORDED = "recorded"  # the operation is committed; the call comes next
    ANSWERED = "answered"  # the provider has answered (or failed to); nothing of it is written down yet
    WRITTEN = "written"  # the answer is committed


def passed(step: Step, boundary: Boundary) -> None:
    """Every step passes each of its boundaries here, so that a test can stop the process at any of them."""
    logger.debug("%s of %s: %s", step.action, step.remote_id, boundary)


def reconcile(
    subscription: Subscription,
    *,
    actor: str | None = None,
    deadline: float | None = None,
    observation: Observation | None = None,
    details: bool = False,
    choice: Choice | None = None,
    insist: bool = False,
) -> bool:
    """Brings one subscription from what is observed to what is wanted, as far as the provider lets us.

    `actor` is who asked (for the operations); by default the last one who changed the wanted half, or the clock.
    `deadline` (monotonic seconds) bounds the calls; what is left goes on in the background. `observation` saves the
    look at the provider when it was just made. `details` also reads what the list does not carry.
    `insist`: a person asks for it in person, so it is tried even while the account's calls rest, and one that was
    given up because the provider switched it off too often is started again.
    `choice`: only these steps, and what is left is left to the next look; raises PlanChanged or Incomplete, and then
    nothing was done.
    False when somebody else is working on it. Failures are written down on the row, not raised.
    """
    holder = new_holder()
    if not subscription.claim(holder):
        return False
    try:
        subscription.refresh_from_db()
        _Run(subscription, holder, actor, deadline, details, choice, insist).go(observation)
    except ClaimLost:
        logger.warning("Lost the claim on subscription %s; stopped.", subscription.uid)
    finally:
        subscription.release(holder)
    return True


def reconcile_soon(subscription: Subscription, *, actor: str, seconds: float = 10.0, insist: bool = False) -> None:
    """A first attempt within `seconds`, waiting for its turn if somebody else is at it. The worker carries on."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reconcile(subscription, actor=actor, deadline=deadline, insist=insist):
            break
        time.sleep(0.1)
    subscription.refresh_from_db()


def plan_for(
    subscription: Subscription, remotes: Sequence[RemoteSubscription], now: datetime, *, no_update: bool = False
) -> Plan:
    """The plan for a subscription row and what carries its token at the provider. `no_update`: the provider has just
    said that it has no update call after all."""
    capabilities = subscription.account.plugin.capabilities
    if no_update:
        capabilities = replace(capabilities, can_update=False, update_may_enable=False)
    return plan(wanted_half(subscription), observed_half(subscription, remotes), capabilities, now)


def preview(subscription: Subscription, *, deadline: float | None = None) -> Plan:
    """Looks at the provider and plans, changing nothing there. Raises ProviderError."""
    account = subscription.account
    if subscription.managed == Managed.MANUAL or subscription.deleted_at:
        return Plan()
    with open_session(account, priority=Priority.CHANGE, deadline=deadline) as session:
        return plan_seen(subscription, observe(account, session, details_of={subscription.pk}))


def plan_seen(row: Subscription, observation: Observation) -> Plan:
    """The plan for a row, with what a look at its account has shown."""
    return plan_for(row, [_with_details(row, remote) for remote in observation.of(row)], timezone.now())


def nothing_to_do(row: Subscription, observation: Observation) -> bool:
    """Whether a row is as wanted and nothing about it has changed but the time of looking. Most looks end here, so
    that thousands of healthy subscriptions cost one write together instead of several each."""
    now = timezone.now()
    put_off = row.last_error is not None and row.due_at is not None and row.due_at > now
    asks = row.last_error or not row.present or (row.generation != row.applied_generation and not row.waiting)
    if asks and not put_off:
        return False
    before = _facts(row)
    remotes = [_with_details(row, remote) for remote in observation.of(row)]
    record_observed(row, remotes, observation.at)
    settle(row, now)
    if put_off:  # what failed is tried again when its pause is over, or when something has changed there
        return _facts(row) == before
    current = plan_for(row, remotes, now)
    something = current.steps or current.accepts or (current.waiting or "") != row.waiting
    return _facts(row) == before and not something


def wanted_half(row: Subscription) -> Wanted:
    """The wanted half of a row."""
    return Wanted(
        present=row.present,
        enabled=row.enabled,
        auto_renew=row.auto_renew,
        by_api=row.managed == Managed.API,
        callback_url=row.callback_url,
        config=_canonical_config(row),
        former_urls=tuple(row.former_callback_urls),
        renew_now=row.renew_asked_at is not None,
        address_confirmed=row.address_confirmed,
        drift_policy=DriftPolicy(row.drift_policy),
    )


def observed_half(row: Subscription, remotes: Sequence[RemoteSubscription]) -> Observed:
    """The observed half of a row, with what carries its token at the provider now."""
    return Observed(
        remotes=tuple(remotes),
        current_id=row.remote_id,
        granted=row.granted,
        renews_in_place=row.renews_in_place,
        update_enables=row.update_enables,
        replace_refused=row.replace_refused,
        secret_for=row.secret_for,
        secret_set=row.secret_is_set,
        we_disabled=row.we_disabled,
        enable_not_before=row.enable_not_before,
        switched_off=row.suspended_count,
        gave_up=row.gave_up_at is not None,
        agreed_config=row.agreed_config,
        pending=row.generation != row.applied_generation,
        spread=row.spread,
    )


def record_observed(row: Subscription, remotes: Sequence[RemoteSubscription], now: datetime) -> None:
    """Writes the observed half (unsaved) from what carries the row's token at the provider."""
    current = next((remote for remote in remotes if remote.remote_id == row.remote_id), None)
    row.observed_at = now
    if current is None:
        if row.remote_id and row.present and row.enabled:
            row.missing_since = row.missing_since or now
        row.remote_status, row.remote_enabled = None, None
        row.remote_config, row.drift = None, []
        return
    row.missing_since = None
    _note_switch(row, current, now)
    _note_lease(row, current, now)
    row.remote_status, row.remote_enabled = current.status, current.enabled
    row.remote_url = current.url or row.remote_url
    if current.config is not None:
        row.remote_config = dict(current.config)
        row.remote_secret_matches = current.secret_matches
        row.details_at = now
    if current.secret_matches:
        _note_secret(row, now)
    wanted_now = wanted_half(row)
    changes = config_changes(wanted_now, current)
    # A new secret that is on its way is no drift.
    row.drift = [asdict(change) for change in changes if change.field != "secret" or row.secret_is_set]
    _note_agreement(row, wanted_now, current, {change.field for change in changes})


def note_error(row: Subscription, error: ProviderError, now: datetime) -> None:
    """Writes down (unsaved) what went wrong and when to try again. While the account's calls rest, that is when they
    no longer do."""
    code = error.cause if isinstance(error, CallsPaused) else error.code
    row.last_error = {"code": code, "message": error.message, "field": error.field}
    row.failures += not isinstance(error, CallsPaused)
    pause = circuit_breaker.pause_of(row.account)
    row.paused_since = (row.paused_since or now) if pause else None
    row.due_at = now + pause_after(row, pause.error(now) if pause else error, now)


def settle(row: Subscription, now: datetime) -> None:
    """Derives state and times (unsaved) from the facts."""
    row.renew_at = renewal_time(row.granted, row.expires_at, row.spread) if row.remote_id else None
    state, row.state_reason = derive(row, now)
    row.state = state


def _note_renewals(row: Subscription, error: ProviderError | None, now: datetime) -> None:
    """Since when a renewal that is due fails, and how often it was tried in vain."""
    row.renew_at = renewal_time(row.granted, row.expires_at, row.spread)
    if not (row.enabled and row.auto_renew and row.remote_id and row.renew_at and row.renew_at <= now):
        row.renewal_failing_since, row.renewal_tries = None, 0
    elif error is not None:
        row.renewal_failing_since = row.renewal_failing_since or now
        row.renewal_tries += not isinstance(error, CallsPaused)


@dataclass
class _Run:
    """One reconciliation of one claimed row."""

    row: Subscription
    holder: str
    asked_by: str | None
    deadline: float | None
    details: bool
    choice: Choice | None = None
    insist: bool = False
    actor: str = SCHEDULER  # who brought about what happens in this run
    generation: int = field(init=False, default=0)  # of the wanted half that this run works on
    no_update: bool = False  # learned in this run: the update call that its plug-in counts on is not there
    as_agreed: bool = False  # the provider refuses what is wanted, so the config that it last took is sent

    def go(self, observation: Observation | None) -> None:
        row = self.row
        self.saved = copy.deepcopy({name: getattr(row, name) for name in _OURS})
        _close_interrupted(row)
        self.generation = row.generation
        self.actor = self.asked_by or (row.changed_by if row.generation != row.applied_generation else "") or SCHEDULER
        row.waiting, row.waiting_for = "", ""
        if self.insist and row.gave_up_at:
            start_again(row)
        left = False  # steps that were not chosen
        failure: ProviderError | None = None
        try:
            if row.managed == Managed.API and not row.deleted_at:
                left = self._converge(observation)
            elif self.choice is not None:
                self.choice.check(Plan())
            row.last_error, row.failures, row.paused_since = None, 0, None
            if not left:
                row.applied_generation = row.applied_generation if row.waiting else self.generation
                row.due_at = next_due(row, timezone.now())
        except ProviderError as error:
            failure = error
        except (ClaimLost, PlanChanged, Incomplete, DatabaseError):
            raise
        except Exception as error:
            # A bug, a plug-in's perhaps. Unless it is written down, the row stays due and is tried again at once.
            logger.exception("Reconciling subscription %s failed.", row.uid)
            failure = PluginFailed(f"An error of ours: {type(error).__name__}. The log says more.")
        now = timezone.now()
        if failure is not None:
            note_error(row, failure, now)
        _note_renewals(row, failure, now)
        row.last_reconciled_at = now
        if secret_rotation.finish(row, settled=failure is None and not left and not row.waiting):
            self.saved["secrets"] = list(row.secrets)
        self._save(self.generation)

    def _converge(self, observation: Observation | None) -> bool:
        """Applies step after step. Whether steps are left, because they were not chosen."""
        row = self.row
        remotes = self._look(observation)
        done: set[tuple[StepAction, str | None]] = set()
        for _ in range(MOST_STEPS):
            record_observed(row, remotes, timezone.now())
            current = plan_for(row, remotes, timezone.now(), no_update=self.no_update)
            row.waiting, row.waiting_for = current.waiting or "", current.wait or ""
            row.enable_not_before = current.not_before or row.enable_not_before
            if current.accepts:
                if not self._accept(current.accepts):
                    return True
                continue
            if self.choice is not None and not done:
                self.choice.check(current)
            step = next(iter(current.steps), None) if self.choice is None else self.choice.next(current)
            if step is None and current.steps:
                return True
            if step is None:
                break
            if (step.action, step.remote_id) in done:
                raise Refused(f"The provider accepted the {step.action}, but it has not taken effect.")
            done.add((step.action, step.remote_id))
            # Before the first of them: an update on the way may switch it on as well.
            if any(_switches_on(item) for item in current.steps) and not self._receiver_ready():
                break
            remotes = self._apply_or_renew(step, current, remotes)
            self._save(None)
        else:
            raise Refused("The provider's answers keep asking for more steps; stopped for now.")
        row.renew_asked_at = row.renew_asked_at if row.waiting else None
        if not row.present and not remotes:
            row.deleted_at = timezone.now()
        return False

    def _look(self, observation: Observation | None) -> tuple[RemoteSubscription, ...]:
        row = self.row
        if observation is None or self._acted_since(observation.at):
            if row.register_tried_at is None:
                return ()  # nobody but us knows its token, and we never sent it
            details = self.details or details_due(row) or row.generation != row.applied_generation
            with self._login(urgency(row, timezone.now())) as login:
                observation = observe(row.account, login, details_of={row.pk} if details else set())
        return tuple(_with_details(row, remote) for remote in observation.of(row))

    def _acted_since(self, moment: datetime) -> bool:
        """Whether something was done to it after that: what was observed then is no longer so. Nor does it tell
        anything about a secret that was made later."""
        asked = self.row.rotation_asked_at
        return (asked is not None and asked >= moment) or self.row.operations.filter(
            Q(finished_at=None) | Q(finished_at__gte=moment)
        ).exists()

    def _login(self, priority: Priority, exchanges: list[Exchange] | None = None) -> Any:
        return open_session(
            self.row.account,
            priority=priority,
            deadline=self.deadline,
            record=exchanges.append if exchanges is not None else None,
            secrets=[*self.row.secrets, *secret_rotation.former_secrets(self.row)],
            before_call=self._keep_claim,
            insist=self.insist,
        )

    def _keep_claim(self) -> None:
        """Before each call: it may have to wait for a slot and then for its answer."""
        if not self.row.keep_claim(self.holder):
            raise ClaimLost

    def _receiver_ready(self) -> bool:
        """A provider that switched us off is not told to call again before our receiver answers."""
        if self.row.we_disabled:
            return True
        trouble = receiver_probe.trouble_at(self.row.callback_url)
        if trouble:
            self.row.waiting = f"{trouble} It is switched on again when the receiver answers."
            self.row.waiting_for = Wait.RECEIVER
            self.row.enable_not_before = timezone.now() + RECEIVER_RETRY
        return trouble is None

    def _apply_or_renew(
        self, step: Step, current: Plan, remotes: tuple[RemoteSubscription, ...]
    ) -> tuple[RemoteSubscription, ...]:
        """The step. Where the provider refuses a changed config while a renewal is due, what it last took is renewed
        before the refusal is reported: a wrong config must not cost the lease."""
        try:
            return self._apply(step, remotes)
        except (Refused, PermissionMissing):
            renewals = [item for item in current.steps if item.action in (StepAction.RENEW, StepAction.REPLACE)]
            if step.action is not StepAction.UPDATE or not renewals or self.row.agreed_config is None:
                raise
            self.as_agreed = True
            record_observed(self.row, self._apply(renewals[0], remotes), timezone.now())
            self._save(None)
            raise

    def _accept(self, changes: Sequence[Change]) -> bool:
        """What somebody changed at the provider becomes what is wanted. False when the wanted half was changed
        meanwhile: then that is looked at first."""
        row = self.row
        model = row.account.plugin.config_model
        try:
            config = validate(model, {**row.config, **{change.field: change.before for change in changes}})
        except InvalidInput as error:
            raise Refused(f"What stands at the provider cannot be accepted: {error}", field="config") from None
        self._keep_claim()
        if not desired_state.accept_drift(row, config.model_dump(mode="json"), by=SCHEDULER):
            return False
        row.refresh_from_db(fields=("config", "generation"))
        self.generation = row.generation
        return True

    def _apply(self, step: Step, remotes: tuple[RemoteSubscription, ...]) -> tuple[RemoteSubscription, ...]:
        """One step: claim, record that we are about to, call, record the answer. Returns what there is now."""
        row = self.row
        passed(step, Boundary.PLANNED)
        self._keep_claim()
        if step.action is StepAction.ADOPT:
            return self._adopt(step, remotes)
        self._stay_due()
        never_tried = row.register_tried_at is None
        if step.action in (StepAction.REGISTER, StepAction.REPLACE):
            row.register_tried_at = timezone.now()
            living = Subscription.objects.filter(pk=row.pk, present=True)
            if not living.update(register_tried_at=row.register_tried_at):
                raise ClaimLost  # deleted meanwhile, perhaps for good because nothing was registered yet
        operation = Operation.objects.create(
            subscription=row, action=step.action, reason=step.reason, remote_id=step.remote_id, actor=self.actor
        )
        passed(step, Boundary.RECORDED)
        exchanges: list[Exchange] = []
        urgent = urgency(row, timezone.now())
        if step.action in (StepAction.RENEW, StepAction.REPLACE):
            urgent = max(urgent, Priority.RENEWAL)
        try:
            with self._login(urgent, exchanges) as login:
                after = self._call(step, remotes, login)
        except ProviderError as error:
            passed(step, Boundary.ANSWERED)
            _finish(operation, exchanges, error)
            if never_tried and _left_nothing(error, exchanges):
                self._forget_the_try()
            passed(step, Boundary.WRITTEN)
            recovered = self._recover(step, remotes, error)
            if recovered is None:
                raise
            return recovered
        passed(step, Boundary.ANSWERED)
        with transaction.atomic():
            _finish(operation, exchanges, None)
            self._note_success(step, remotes, after)
            self._save(None)
        passed(step, Boundary.WRITTEN)
        return after

    def _stay_due(self) -> None:
        """Whoever finds work at a look has a row that is not due: if we die, the sweep must go on as soon as our claim
        ends, also when the next look would find nothing to do any more."""
        now = timezone.now()
        not_due = Q(due_at=None) | Q(due_at__gt=now)
        Subscription.objects.filter(not_due, pk=self.row.pk, claimed_by=self.holder).update(due_at=now)

    def _forget_the_try(self) -> None:
        """The provider has never had our token: whoever deletes the subscription now need not reach it for that."""
        row = self.row
        mine = Subscription.objects.filter(pk=row.pk, claimed_by=self.holder, register_tried_at=row.register_tried_at)
        if mine.update(register_tried_at=None):
            row.register_tried_at = None

    def _call(
        self, step: Step, remotes: tuple[RemoteSubscription, ...], session: ProviderSession[Any, Any]
    ) -> tuple[RemoteSubscription, ...]:
        plugin, remote_id = self.row.account.plugin, step.remote_id or ""
        old = _by_id(remotes, step.remote_id)
        match step.action:
            case StepAction.REGISTER | StepAction.REPLACE:
                return (*remotes, self._as_sent(plugin.register(session, self._registration(old, enabled=True))))
            case StepAction.UPDATE:
                sent = self._registration(old, enabled=self.row.enabled)
                changed = self._as_sent(plugin.update(session, remote_id, sent))
            case StepAction.RENEW:
                sent = self._registration(old, enabled=self.row.enabled)
                changed = self._as_sent(plugin.renew(session, remote_id, sent))
            case StepAction.ENABLE | StepAction.DISABLE:
                changed = plugin.set_enabled(session, remote_id, step.action is StepAction.ENABLE)
            case _:
                plugin.delete(session, remote_id)
                return tuple(remote for remote in remotes if remote.remote_id != remote_id)
        return tuple(_merge(remote, changed) if remote.remote_id == remote_id else remote for remote in remotes)

    def _as_sent(self, answer: RemoteSubscription) -> RemoteSubscription:
        """A whole answer, completed with the fields that we sent and the provider does not show."""
        if answer.config is None:
            return answer
        return replace(answer, config={**_canonical_config(self.row), **answer.config})

    def _registration(self, old: RemoteSubscription | None, *, enabled: bool) -> Registration[Any]:
        """What is to stand there: what is wanted, with what is only reported left as it is there."""
        row = self.row
        kept: dict[str, object] = dict(row.agreed_config or {}) if self.as_agreed else {}
        kept = kept or config_to_keep(wanted_half(row), observed_half(row, ()), old)
        try:
            if kept:
                with suppress(InvalidInput):  # it no longer fits our schema: then rather put back than not renewed
                    config = validate(row.account.plugin.config_model, {**row.config, **kept})
                    return replace(registration_of(row, enabled=enabled), config=config)
            return registration_of(row, enabled=enabled)
        except InvalidInput as error:
            raise Refused(f"The config no longer fits the provider's schema: {error}", field="config") from None

    def _recover(
        self, step: Step, remotes: tuple[RemoteSubscription, ...], error: ProviderError
    ) -> tuple[RemoteSubscription, ...] | None:
        """What there is now, where an error itself says how to go on; None where it is a failure."""
        if isinstance(error, NotFound) and step.remote_id and step.action is not StepAction.REPLACE:
            return tuple(remote for remote in remotes if remote.remote_id != step.remote_id)
        if isinstance(error, LimitReached) and step.action is StepAction.REPLACE and not self.row.replace_refused:
            self.row.replace_refused = True
            return remotes
        if isinstance(error, Unsupported) and step.action in (StepAction.UPDATE, StepAction.RENEW):
            # Not every provider's update call is documented. Without one, only a new registration changes anything.
            self.no_update = True
            if step.action is StepAction.RENEW:
                self.row.renews_in_place = False
            return remotes
        return None

    def _note_success(
        self, step: Step, before: tuple[RemoteSubscription, ...], after: tuple[RemoteSubscription, ...]
    ) -> None:
        row, now = self.row, timezone.now()
        match step.action:
            case StepAction.REGISTER | StepAction.REPLACE:
                new, agreed = after[-1], row.agreed_config
                if new.new_secret:
                    row.secrets, row.secret_for = [new.new_secret, *row.secrets][:2], new.remote_id
                remember(row, new.remote_id)
                _take(row, new.remote_id, now)
                _note_secret(row, now)
                if step.action is StepAction.REPLACE:
                    row.renewed_at, row.agreed_config = now, agreed
            case StepAction.RENEW:
                self._note_renewal(_by_id(before, step.remote_id), _by_id(after, step.remote_id), now)
            case StepAction.DISABLE:
                row.we_disabled = True
            case StepAction.DELETE if step.remote_id == row.remote_id:
                row.remote_id, row.expires_at, row.granted, row.missing_since = None, None, None, None
            case StepAction.UPDATE if step.remote_id:
                self._note_update(step.remote_id, before, after, now)
            case _:
                pass

    def _note_update(
        self,
        remote_id: str,
        before: tuple[RemoteSubscription, ...],
        after: tuple[RemoteSubscription, ...],
        now: datetime,
    ) -> None:
        row = self.row
        remember(row, remote_id)
        if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
            _note_secret(row, now)
        if all(remote.url in (None, row.callback_url) for remote in after):
            row.former_callback_urls = []
        was, is_now = _by_id(before, remote_id), _by_id(after, remote_id)
        if row.enabled and was and is_now and not was.enabled:
            row.update_enables = is_now.enabled

    def _note_renewal(self, old: RemoteSubscription | None, new: RemoteSubscription | None, now: datetime) -> None:
        """A lease that moved, or that is as long as a fresh one, is a new lease; else in place does not work here."""
        row = self.row
        if old is None or new is None or old.expires_at is None or new.expires_at is None:
            return
        if new.expires_at > old.expires_at or (row.granted and new.expires_at - now >= 0.9 * row.granted):
            row.granted, row.expires_at = new.expires_at - now, new.expires_at
            row.renews_in_place, row.renewed_at = True, now
            row.renew_asked_at = None
        else:
            row.renews_in_place = False

    def _adopt(self, step: Step, remotes: tuple[RemoteSubscription, ...]) -> tuple[RemoteSubscription, ...]:
        now = timezone.now()
        with transaction.atomic():
            Operation.objects.create(
                subscription=self.row,
                action=step.action,
                reason=step.reason,
                remote_id=step.remote_id,
                actor=self.actor,
                status=OperationStatus.SUCCEEDED,
                started_at=now,
                finished_at=now,
            )
            _take(self.row, step.remote_id or "", now)
            self._save(None)
        passed(step, Boundary.WRITTEN)
        return remotes

    def _save(self, generation: int | None) -> None:
        """Saves what we learned, but only while the claim is ours, and never a column of the wanted half.

        With a generation (at the end): if the wanted half changed meanwhile, the row stays due."""
        row, now = self.row, timezone.now()
        deleted_at = row.deleted_at
        row.refresh_from_db(fields=_WANTED)  # somebody may have changed it meanwhile; the state must follow
        row.deleted_at = row.deleted_at or deleted_at
        settle(row, now)
        facts = {name: getattr(row, name) for name in _OURS}
        changed = {name: value for name, value in facts.items() if value != self.saved.get(name)}
        mine = Subscription.objects.filter(pk=row.pk, claimed_by=self.holder)
        if not write(mine, by=self.actor, **changed, last_reconciled_at=row.last_reconciled_at):
            raise ClaimLost
        self.saved = copy.deepcopy(facts)
        if generation is None:
            return
        mine.filter(generation=generation).update(due_at=row.due_at, renew_asked_at=row.renew_asked_at)


_WANTED = (
    "config",
    "enabled",
    "present",
    "auto_renew",
    "drift_policy",
    "managed",
    "callback_url",
    "deleted_at",
    "forgotten_at",
)
_OURS = (
    "secrets",
    "secret_for",
    "remote_secret_no",
    "secret_set_at",
    "former_callback_urls",
    "remote_id",
    "remote_status",
    "remote_enabled",
    "remote_url",
    "remote_config",
    "remote_secret_matches",
    "expires_at",
    "granted",
    "observed_at",
    "details_at",
    "missing_since",
    "renews_in_place",
    "update_enables",
    "replace_refused",
    "we_disabled",
    "suspended_count",
    "enable_not_before",
    "enabled_at",
    "suspensions",
    "gave_up_at",
    "renewed_at",
    "renewal_failing_since",
    "renewal_tries",
    "paused_since",
    "agreed_config",
    "state",
    "state_reason",
    "drift",
    "waiting",
    "waiting_for",
    "last_error",
    "failures",
    "applied_generation",
    "renew_at",
    "deleted_at",
)


TIMES = ("observed_at", "details_at", "last_reconciled_at")


def _facts(row: Subscription) -> dict[str, object]:
    return {name: getattr(row, name) for name in _OURS if name not in TIMES and name != "secrets"}


def _canonical_config(row: Subscription) -> dict[str, object]:
    plugin = row.account.plugin
    try:
        return plugin.canonical(validate(plugin.config_model, row.config))
    except InvalidInput:
        return {}  # said at the next call, where it matters


def _close_interrupted(row: Subscription) -> None:
    """Operations that a dead worker left open: nobody knows whether they took effect. Observing tells."""
    row.operations.filter(status=OperationStatus.RUNNING).update(
        status=OperationStatus.UNKNOWN,
        error="The worker stopped before the answer was written down; what is there is looked at again.",
        finished_at=timezone.now(),
    )


def _finish(operation: Operation, exchanges: Sequence[Exchange], error: ProviderError | None) -> None:
    """Writes the answer of the changing call onto the operation: its last exchange that is no GET, because logging in
    may come before it and reading back after it."""
    changing = next((item for item in reversed(exchanges) if item.method != "GET"), exchanges[0] if exchanges else None)
    if changing:
        operation.request = {"method": changing.method, "url": changing.url, "body": changing.request_body}
        if changing.status is not None:
            operation.response = {"status": changing.status, "body": changing.response_body}
    if error is None:
        operation.status = OperationStatus.SUCCEEDED
    else:
        operation.status = OperationStatus.UNKNOWN if error.outcome_unknown else OperationStatus.FAILED
        operation.error = error.message
    operation.finished_at = timezone.now()
    operation.save(update_fields=["request", "response", "status", "error", "finished_at"])


def _left_nothing(error: ProviderError, exchanges: Sequence[Exchange]) -> bool:
    """Whether calls that failed certainly have changed nothing at the provider: each was refused, or only read, or was
    the last one, which the error is about, and did not get through."""
    return not error.outcome_unknown and all(
        item.method == "GET" or (item is exchanges[-1] if item.status is None else item.status >= 400)
        for item in exchanges
    )


def _take(row: Subscription, remote_id: str, now: datetime) -> None:
    """Makes a remote one the row's own; its lease counts from now, as far as we know."""
    row.remote_id = remote_id
    row.missing_since = None
    row.granted, row.expires_at = None, None
    row.remote_enabled, row.we_disabled = None, False
    row.remote_config, row.remote_secret_matches, row.details_at = None, None, None
    row.remote_secret_no, row.secret_set_at = None, None
    row.agreed_config = None
    row.enabled_at = now
    row.renew_asked_at = None


def _note_switch(row: Subscription, current: RemoteSubscription, now: datetime) -> None:
    """Who switched it, and how often the provider did."""
    if current.enabled:
        if not row.remote_enabled:
            row.enabled_at = now
        row.we_disabled = False
        if row.gave_up_at:  # somebody switched it on at the provider
            start_again(row)
        if row.enabled_at and now - row.enabled_at > HEALTHY_AFTER:
            row.suspended_count = 0
        return
    if expired(current, now):  # its lease ended; that is no mistrust
        return
    if row.enabled and not row.we_disabled and row.remote_enabled is not False:
        row.suspended_count += 1
        lately = [moment for moment in row.suspensions if datetime.fromisoformat(moment) > now - SWITCH_OFFS_IN]
        row.suspensions = [*lately, now.isoformat()]
        if len(row.suspensions) > MOST_SWITCH_OFFS:
            row.gave_up_at = row.gave_up_at or now
        pause = 0.0 if row.suspended_count == 1 else min(PAUSE_FIRST * 2 ** (row.suspended_count - 2), PAUSE_LONGEST)
        row.enable_not_before = now + timedelta(seconds=pause)


def start_again(row: Subscription) -> None:
    """Forgets (unsaved) how often the provider switched it off."""
    for name, value in copy.deepcopy(dict(desired_state.START_AGAIN)).items():
        setattr(row, name, value)


def _note_agreement(row: Subscription, wanted_now: Wanted, current: RemoteSubscription, differing: set[str]) -> None:
    """Remembers (unsaved) in which fields both sides are at one; where they differ, in what they last were."""
    if current.config is None:
        return
    before = row.agreed_config or {}
    agreed = {name: value for name, value in wanted_now.config.items() if name not in differing}
    kept = {name: before[name] for name in differing if name in before}
    row.agreed_config = {**kept, **agreed}


def _note_lease(row: Subscription, current: RemoteSubscription, now: datetime) -> None:
    """A lease that ends later than before is a new one. One that ends earlier is still the same."""
    if current.expires_at and (row.granted is None or (row.expires_at and current.expires_at > row.expires_at)):
        row.granted = max(current.expires_at - now, timedelta(0))
    row.expires_at = current.expires_at


def _note_secret(row: Subscription, now: datetime) -> None:
    """The provider has the secret that is to be in use."""
    if row.remote_secret_no != row.secret_no and not (row.remote_secret_no is None and row.secret_is_set):
        row.remote_secret_no, row.secret_set_at = row.secret_no, now


def _with_details(row: Subscription, remote: RemoteSubscription) -> RemoteSubscription:
    """The provider's answer completed with what it does not carry: the details that were read last, and the fields
    that it never shows, as we sent them last. Of a secret, what was sent last counts."""
    remote = _with_config(row, remote)
    if remote.remote_id == row.remote_id and remote.secret_matches is None and not row.secret_is_set:
        return replace(remote, secret_matches=False)
    return remote


def _with_config(row: Subscription, remote: RemoteSubscription) -> RemoteSubscription:
    if remote.remote_id != row.remote_id or row.remote_config is None:
        return remote
    if remote.config is not None:
        return replace(remote, config={**row.remote_config, **remote.config})
    # What was compared with the secret before says nothing about this one.
    matches = row.remote_secret_matches if row.secret_is_set else None
    return replace(remote, config=row.remote_config, secret_matches=matches)


def _merge(old: RemoteSubscription, new: RemoteSubscription) -> RemoteSubscription:
    """The newer answer, with what it did not carry from the older. One with a config is whole: it then has no expiry
    because it does not expire (any more)."""
    return replace(
        new,
        expires_at=new.expires_at if new.config is not None else new.expires_at or old.expires_at,
        url=new.url or old.url,
        config={**(old.config or {}), **new.config} if new.config is not None else old.config,
        secret_matches=new.secret_matches if new.config is not None else old.secret_matches,
    )


def _switches_on(step: Step) -> bool:
    return any(change.field == "enabled" and change.after is True for change in step.changes)


def _by_id(remotes: Sequence[RemoteSubscription], remote_id: str | None) -> RemoteSubscription | None:
    return next((remote for remote in remotes if remote.remote_id == remote_id), None)


def details_due(row: Subscription) -> bool:
    """Whether it is time to read what the list does not carry."""
    return row.details_at is None or timezone.now() - row.details_at >= row.account.details_interval
