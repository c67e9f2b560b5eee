"""From what is wanted and what is observed to the steps between them. Pure: no I/O, no clock, no Django.

Everything that happens to a subscription at a provider is a plan: registering, renewing, registering again after a
deletion, switching back on, putting a changed config back, adopting what a crash left behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities, Renewal, SecretMadeBy
from providers.times import readable_time

NEVER_ACCEPTED = ("callback_url", "secret")
FRESH_AFTER = 3  # times in a row that it was switched off: then switching it on again evidently does not help


class StepAction(StrEnum):
    """What a step does at the provider. Each but `adopt` is exactly one changing call."""

    REGISTER = "register"
    UPDATE = "update"
    ENABLE = "enable"
    DISABLE = "disable"
    RENEW = "renew"
    REPLACE = "replace"  # registers a new one beside the old one; deleting the old one is a step of its own
    ADOPT = "adopt"
    DELETE = "delete"


class DriftPolicy(StrEnum):
    """What is done when somebody changed the config at the provider. A changed callback URL or secret is never
    accepted: where the config would be, they are put back."""

    PUT_BACK = "put_back"
    ACCEPT = "accept"  # what stands there becomes what is wanted
    REPORT = "report"  # it is shown, and nothing is written there


class Wait(StrEnum):
    """Why something is not done now."""

    ADDRESS = "address"  # PUBLIC_URL is another one than the callback URL was made for
    ELSEWHERE = "elsewhere"  # the provider has our token at another address
    PAUSE = "pause"  # before it is switched on again
    RECEIVER = "receiver"  # our own receiver does not answer
    GAVE_UP = "gave_up"  # the provider switched it off too often
    LEASE_ENDED = "lease_ended"  # and renewal is off


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a step changes. Secrets stand as `***`."""

    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Step:
    """One step, its reason in words, and the remote subscription that it is about (None for a new one)."""

    action: StepAction
    reason: str
    remote_id: str | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order. `waiting` says in words why something that would have to be done is not done now,
    `wait` is the reason, and `not_before` when it may be. `accepts` are changes made at the provider that become what
    is wanted, before the steps."""

    steps: tuple[Step, ...] = ()
    waiting: str | None = None
    not_before: datetime | None = None
    wait: Wait | None = None
    accepts: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The wanted half. `config` is canonical. `address_confirmed` is false when PUBLIC_URL is no longer the address
    that this subscription was made for, and nobody has confirmed the new one."""

    present: bool
    enabled: bool
    auto_renew: bool
    by_api: bool
    callback_url: str
    config: Mapping[str, object]
    former_urls: Sequence[str] = ()
    renew_now: bool = False
    address_confirmed: bool = True
    drift_policy: DriftPolicy = DriftPolicy.PUT_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The observed half, and what earlier runs learned.

    `remotes` are all that carry our token. `current_id` is the one that our row names. `secret_for` is the remote id
    whose provider-made secret we hold. `we_disabled`: its being off is our own doing. `agreed_config` is the config in
    which both sides were last at one: what differs from it there was changed behind our back, what differs from it
    here is ours to send. `pending`: the wanted half was changed and is not applied yet.
    """

    remotes: tuple[RemoteSubscription, ...] = ()
    current_id: str | None = None
    granted: timedelta | None = None  # how long its lease was when it began
    renews_in_place: bool | None = None  # None: not known yet
    update_enables: bool | None = None  # None: not known yet
    replace_refused: bool = False  # the provider has no room for a second one beside the first
    secret_for: str | None = None
    secret_set: bool = True  # the current one was given the secret that is to be in use
    we_disabled: bool = False
    enable_not_before: datetime | None = None
    switched_off: int = 0  # times in a row that the provider switched it off
    gave_up: bool = False  # it did so too often; only a person starts it again
    agreed_config: Mapping[str, object] | None = None
    pending: bool = False
    spread: float = field(default=0.0)  # 0 to 1, fixed per subscription: spreads renewals


def plan(wanted: Wanted, observed: Observed, capabilities: Capabilities, now: datetime) -> Plan:
    """The steps that turn what is observed into what is wanted; none when nothing is to do.

    Applying the steps and planning again ends with an empty plan. No step ever names a remote subscription that is not
    in `observed.remotes`, and none registers while a usable one exists, except as the first half of a replacement.
    """
    if not wanted.by_api:
        return Plan()
    if not wanted.address_confirmed:
        return Plan(
            waiting="PUBLIC_URL is no longer the address that this subscription was registered with. Nothing is "
            "changed at the provider until a person confirms the new address (manage.py confirm_public_url).",
            wait=Wait.ADDRESS,
        )
    if not wanted.present:
        return Plan(tuple(_delete(remote, "The subscription is deleted here.") for remote in observed.remotes))
    elsewhere = [remote for remote in observed.remotes if _moved_elsewhere(remote, wanted)]
    if elsewhere:
        return Plan(
            waiting=f"The provider has our token at another address ({elsewhere[0].url}): another installation may be "
            "using it. Nothing is changed there until a person has looked.",
            wait=Wait.ELSEWHERE,
        )
    keep = choose(wanted, observed, capabilities, now)
    others = tuple(remote for remote in observed.remotes if remote is not keep)
    if keep is None:
        return _without_usable(wanted, observed, others)
    adopt: tuple[Step, ...] = ()
    if keep.remote_id != observed.current_id:
        adopt = (Step(StepAction.ADOPT, "It carries our callback URL; we take it as ours.", keep.remote_id),)
    accepts = _accepted(wanted, observed, keep)
    wanted = replace(wanted, config={**wanted.config, **{change.field: change.before for change in accepts}})
    if wanted.enabled:
        rest = _keep_alive(wanted, observed, capabilities, keep, now)
    else:
        rest = _keep_disabled(wanted, observed, capabilities, keep, now)
    spare = tuple(_delete(remote, f"Only one is needed; {keep.remote_id} is newer.") for remote in others)
    ready = keep.enabled or not wanted.enabled
    # A second one goes only when the first is known to work; until then the others may still be delivering.
    return replace(rest, steps=(*adopt, *rest.steps, *(spare if ready else ())), accepts=accepts)


def choose(wanted: Wanted, observed: Observed, capabilities: Capabilities, now: datetime) -> RemoteSubscription | None:
    """The one to keep: enabled, with a lease, as wanted, not due for renewal, the newest, in that order of weight.

    None when there is none, or none that we could use (where the provider makes the secret and shows it once, one
    whose secret we lack is of no use)."""

    def rank(item: tuple[int, RemoteSubscription]) -> tuple[bool, bool, bool, bool, float, bool, int]:
        position, remote = item
        return (
            remote.enabled,
            not expired(remote, now),
            not config_changes(wanted, remote),
            not _renewal_due(observed, remote, now),
            remote.expires_at.timestamp() if remote.expires_at else float("inf"),
            remote.remote_id == observed.current_id,
            position,
        )

    usable = [
        (position, remote)
        for position, remote in enumerate(observed.remotes)
        if capabilities.secret_made_by is not SecretMadeBy.PROVIDER or remote.remote_id == observed.secret_for
    ]
    return max(usable, key=rank)[1] if usable else None


def expired(remote: RemoteSubscription, now: datetime) -> bool:
    """Whether its lease has ended."""
    return remote.expires_at is not None and remote.expires_at <= now


def renewal_time(granted: timedelta | None, expires_at: datetime | None, spread: float = 0.0) -> datetime | None:
    """When to renew: while 34 to 40 % of the granted life is left, so that there is time for many tries.
    `spread` (0 to 1) tells where in that range, so that many do not come due at once. None without an expiry."""
    if expires_at is None or granted is None:
        return None
    return expires_at - granted * (0.40 - 0.06 * spread)


def spread_of(key: str) -> float:
    """A number from 0 to 1 that is always the same for the same key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32


def config_changes(wanted: Wanted, remote: RemoteSubscription) -> tuple[Change, ...]:
    """The fields in which the remote one differs from what is wanted. What could not be read does not differ."""
    changes: list[Change] = []
    if remote.url is not None and remote.url != wanted.callback_url:
        changes.append(Change("callback_url", remote.url, wanted.callback_url))
    for name, value in sorted(wanted.config.items()):
        if remote.config is not None and name in remote.config and remote.config[name] != value:
            changes.append(Change(name, remote.config[name], value))
    if remote.secret_matches is False:
        changes.append(Change("secret", "***", "***"))
    return tuple(changes)


def drifted(wanted: Wanted, observed: Observed, remote: RemoteSubscription) -> tuple[Change, ...]:
    """Those of its differences that somebody made at the provider. The others are ours: not sent yet."""
    if remote.remote_id != observed.current_id:  # one that a crash of ours left behind, perhaps
        return ()
    agreed = observed.agreed_config or {}

    def behind_our_back(change: Change) -> bool:
        if change.field == "secret" and not observed.secret_set:
            return False
        if change.field in NEVER_ACCEPTED:
            return not observed.pending and remote.url not in wanted.former_urls
        return change.field in agreed and agreed[change.field] == wanted.config[change.field]

    return tuple(change for change in config_changes(wanted, remote) if behind_our_back(change))


def config_to_keep(wanted: Wanted, observed: Observed, remote: RemoteSubscription | None) -> dict[str, object]:
    """The fields of a drifted config that stay as they are there, also when it is renewed or replaced."""
    if remote is None or wanted.drift_policy is not DriftPolicy.REPORT:
        return {}
    changes = drifted(wanted, observed, remote)
    return {change.field: change.before for change in changes if change.field not in NEVER_ACCEPTED}


def _accepted(wanted: Wanted, observed: Observed, remote: RemoteSubscription) -> tuple[Change, ...]:
    if wanted.drift_policy is not DriftPolicy.ACCEPT:
        return ()
    return tuple(item for item in drifted(wanted, observed, remote) if item.field not in NEVER_ACCEPTED)


def _to_send(wanted: Wanted, observed: Observed, remote: RemoteSubscription) -> tuple[Change, ...]:
    """The differences that are to be changed at the provider."""
    changes = config_changes(wanted, remote)
    if wanted.drift_policy is not DriftPolicy.REPORT:
        return changes
    reported = drifted(wanted, observed, remote)
    return tuple(change for change in changes if change not in reported)


def _without_usable(wanted: Wanted, observed: Observed, others: tuple[RemoteSubscription, ...]) -> Plan:
    if not wanted.enabled:
        return Plan(
            tuple(_delete(remote, "It is switched off here, and its secret is not known.") for remote in others)
        )
    if observed.gave_up:
        return _gave_up()
    if others:
        return Plan(
            _replacement(observed, others, "Its secret is not known here, so its requests could not be verified.")
        )
    if observed.current_id:
        reason = f"The provider no longer has {observed.current_id}; it is registered again."
    else:
        reason = "It is not registered at the provider yet."
    return Plan((Step(StepAction.REGISTER, reason),))


def _keep_alive(
    wanted: Wanted, observed: Observed, capabilities: Capabilities, keep: RemoteSubscription, now: datetime
) -> Plan:
    may_renew = wanted.auto_renew or wanted.renew_now
    suspended = not keep.enabled and not observed.we_disabled
    held_off = _held_off(observed, now) if suspended else None
    if held_off is not None:
        return held_off
    switch = Change("enabled", False, True)
    if expired(keep, now):
        if not may_renew:
            return Plan(waiting="Its lease has ended and automatic renewal is off.", wait=Wait.LEASE_ENDED)
        again = (switch,) if suspended and observed.switched_off else ()
        return Plan(_replacement(observed, (keep,), "Its lease has ended.", again))
    changes = _to_send(wanted, observed, keep)
    if changes and _only_anew(capabilities, changes):
        differs = "What differs is only changed by registering it anew."
        return Plan(_replacement(observed, (keep,), _reason(observed, changes, differs), changes))
    steps: list[Step] = []
    off = "It is switched on here, but not there." if observed.we_disabled else "The provider switched it off."
    if suspended and (not capabilities.enabling_resets_failures or observed.switched_off >= FRESH_AFTER):
        anew = f"{off} Switching it on does not last, so it is registered anew: failures are counted from nothing then."
        return Plan(_replacement(observed, (keep,), anew, (*changes, switch)))
    if not keep.enabled and not capabilities.can_set_status:
        if not capabilities.update_may_enable or observed.update_enables is False:
            return Plan(_replacement(observed, (keep,), off, (*changes, switch)))
        return Plan((Step(StepAction.UPDATE, off, keep.remote_id, (*changes, switch)),))
    if changes:
        reason = _reason(observed, changes, "It differs from what is wanted.")
        steps.append(Step(StepAction.UPDATE, reason, keep.remote_id, changes))
    if not keep.enabled:
        steps.append(Step(StepAction.ENABLE, off, keep.remote_id, (switch,)))
    renewal = _renewal(wanted, observed, capabilities, keep, now) if may_renew else ()
    return Plan((*steps, *renewal))


def _keep_disabled(
    wanted: Wanted, observed: Observed, capabilities: Capabilities, keep: RemoteSubscription, now: datetime
) -> Plan:
    if not capabilities.can_set_status:
        return Plan((_delete(keep, "It is switched off here, and this provider can only delete it."),))
    if expired(keep, now):
        return Plan((_delete(keep, "It is switched off here and its lease has ended."),))
    steps: list[Step] = []
    if keep.enabled:
        change = Change("enabled", True, False)
        steps.append(Step(StepAction.DISABLE, "It is switched off here, but not there.", keep.remote_id, (change,)))
    changes = _to_send(wanted, observed, keep)
    if changes and not _only_anew(capabilities, changes):
        reason = _reason(observed, changes, "It differs from what is wanted.")
        steps.append(Step(StepAction.UPDATE, reason, keep.remote_id, changes))
    if (
        capabilities.renewal is Renewal.UPDATE
        and observed.renews_in_place is not False
        and (wanted.auto_renew or wanted.renew_now)
    ):
        steps += _renewal(wanted, observed, capabilities, keep, now)
    return Plan(tuple(steps))


def _only_anew(capabilities: Capabilities, changes: tuple[Change, ...]) -> bool:
    """Whether these can only be changed by a new registration."""
    fixed = set(capabilities.immutable_fields)
    if capabilities.secret_made_by is SecretMadeBy.PROVIDER:
        fixed.add("secret")
    return not capabilities.can_update or any(change.field in fixed for change in changes)


def _reason(observed: Observed, changes: tuple[Change, ...], otherwise: str) -> str:
    """Why these are changed; a new secret is no difference that somebody made."""
    if observed.secret_set or not any(change.field == "secret" for change in changes):
        return otherwise
    return "A new secret was asked for." if len(changes) == 1 else f"A new secret was asked for. {otherwise}"


def _renewal(
    wanted: Wanted, observed: Observed, capabilities: Capabilities, keep: RemoteSubscription, now: datetime
) -> tuple[Step, ...]:
    if capabilities.renewal is Renewal.NONE or keep.expires_at is None:
        return ()
    if not wanted.renew_now and not _renewal_due(observed, keep, now):
        return ()
    left = max(int((keep.expires_at - now).total_seconds()), 0)
    reason = "Renewal was asked for." if wanted.renew_now else f"Its lease ends in {_duration(left)}."
    if capabilities.renewal is Renewal.UPDATE and capabilities.can_update and observed.renews_in_place is not False:
        return (Step(StepAction.RENEW, reason, keep.remote_id),)
    return _replacement(observed, (keep,), reason)


def _renewal_due(observed: Observed, remote: RemoteSubscription, now: datetime) -> bool:
    # The life of one that we did not register ourselves is counted from its first observation, which is now.
    if remote.expires_at is None or remote.remote_id != observed.current_id or expired(remote, now):
        return False
    due = renewal_time(observed.granted, remote.expires_at, observed.spread)
    return due is not None and due <= now


def _replacement(
    observed: Observed, old: tuple[RemoteSubscription, ...], reason: str, changes: tuple[Change, ...] = ()
) -> tuple[Step, ...]:
    """Make before break; where the provider has no room for both, break before make."""
    if observed.replace_refused:
        gap = f"{reason} The provider has no room for a second one, so this one goes first: events may be missed."
        deletes = tuple(_delete(remote, gap) for remote in old)
        return (*deletes, Step(StepAction.REGISTER, f"{reason} The old one had to go first.", None, changes))
    deletes = tuple(_delete(remote, "The new one takes its place.") for remote in old)
    return (Step(StepAction.REPLACE, reason, old[0].remote_id, changes), *deletes)


def _held_off(observed: Observed, now: datetime) -> Plan | None:
    """Why one that the provider switched off is not switched on again now; None when it may be."""
    if observed.gave_up:
        return _gave_up()
    if observed.enable_not_before and now < observed.enable_not_before:
        return Plan(
            waiting=f"It is switched on again after a pause, at {readable_time(observed.enable_not_before)}.",
            not_before=observed.enable_not_before,
            wait=Wait.PAUSE,
        )
    return None


def _gave_up() -> Plan:
    return Plan(
        waiting="The provider switched it off again and again. It stays off until a person switches it on or "
        "reconciles it; find out first why its events were not accepted.",
        wait=Wait.GAVE_UP,
    )


def _delete(remote: RemoteSubscription, reason: str) -> Step:
    return Step(StepAction.DELETE, reason, remote.remote_id)


def _moved_elsewhere(remote: RemoteSubscription, wanted: Wanted) -> bool:
    if remote.url is None or remote.url in wanted.former_urls:
        return False
    return _place(remote.url) != _place(wanted.callback_url)


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()


def _duration(seconds: int) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
