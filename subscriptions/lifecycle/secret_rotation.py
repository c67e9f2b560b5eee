"""Changing the secret that proves inbound requests, without losing one.

The new secret is committed before the provider hears of it, and the old one stays accepted beside it. The plan brings
the new one there: by an update, or, where the provider makes the secret or has no such update, by a new registration
beside the old one. The receiver tells when a request was proved by the new one; only then the old one goes. Nothing but
that, or a person who revokes it, ends it: a subscription that is quiet for weeks loses nothing.

What there is to do is told from the facts on the row, so it goes on after a crash at any line.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from providers.audit.actors import SCHEDULER
from providers.conflict import Conflict
from providers.contract.capabilities import SecretMadeBy
from providers.contract.signatures import same
from providers.db.encryption import Undecryptable
from providers.times import readable_time
from subscriptions.lifecycle.desired_state import note
from subscriptions.models import FormerSecret, Managed, Subscription

MOST_ACCEPTED = 5  # at once; the provider may have any of those that were asked for
MOST_FORMER = 3  # no longer accepted; kept so that a person can release what was proved by them
TOLD_BY = (  # the fields that `words` reads
    *("rotation_asked_at", "managed", "old_revoked", "remote_secret_no", "secret_no", "secret_seen_no"),
    *("secret_set_at", "enabled"),
)
UNSEEN_AFTER = timedelta(days=7)  # then it is a problem that a rotation is still under way


class TooManyUnderWay(Conflict):
    """So many rotations were asked for that more secrets would be accepted than may."""


@transaction.atomic
def rotate(subscription: Subscription, *, by: str, revoke: bool = False) -> None:
    """Wants a new secret in use. The old one is accepted until a request was proved by the new one.

    `revoke`: for a secret that has leaked. Where we make it, the old one is refused from now on, also while the
    provider still uses it; where the provider makes it, as soon as that has made the new one. What is refused is kept,
    and a person can release it. Raises TooManyUnderWay."""
    plugin = subscription.account.plugin
    locked = Subscription.objects.select_for_update(no_key=True).only("secrets").get(pk=subscription.pk)
    secrets = locked.secrets
    if plugin.capabilities.secret_made_by is SecretMadeBy.US:
        kept = [] if revoke else secrets
        _drop(subscription, secrets[len(kept) :])
        secrets = [plugin.new_secret(), *kept]
        if len(secrets) > MOST_ACCEPTED:
            raise TooManyUnderWay(
                f"{len(kept)} secrets are accepted already, because none of the new ones has been seen in a request. "
                "Wait for one, or revoke the old ones."
            )
    subscription.change_desired_state(
        by=by,
        secrets=secrets,
        secret_no=F("secret_no") + 1,
        rotation_asked_at=timezone.now() if locked.secrets else None,  # without an old one there is none to wait for
        old_revoked=revoke,
    )
    note(subscription, "secret rotation asked for", by, after={"old secret": "revoked" if revoke else "still accepted"})


@transaction.atomic
def enter_secret(subscription: Subscription, value: str, *, by: str) -> None:
    """Keeps the secret that the provider showed to whoever registered it by hand. One that was entered before is
    accepted until a request was proved by this one, so that nothing is refused during a change."""
    locked = Subscription.objects.select_for_update(no_key=True).only("secrets").get(pk=subscription.pk)
    others = [secret for secret in locked.secrets if secret != value]
    kept = others[: MOST_ACCEPTED - 1]
    _drop(subscription, others[len(kept) :])
    is_new = locked.secrets[:1] != [value]
    if is_new:
        Subscription.objects.filter(pk=subscription.pk).update(
            secrets=[value, *kept],
            secret_no=F("secret_no") + 1,
            rotation_asked_at=timezone.now() if kept else None,
            old_revoked=False,
            generation=F("generation") + 1,
            due_at=timezone.now(),
        )
    note(subscription, "secret entered", by)
    subscription.refresh_from_db()


@transaction.atomic
def seen(subscription_pk: int, secret: str) -> bool:
    """Writes down that a request was proved by this secret, when it is the new one of a rotation under way and the
    provider has it: before that, only a person can have sent it. True when that has been written down, now or before.
    The reconciler does the rest."""
    row = Subscription.objects.select_for_update(no_key=True).filter(pk=subscription_pk, deleted_at=None).first()
    if row is None or row.rotation_asked_at is None or row.secret_seen_no == row.secret_no:
        return True
    if not row.secrets or not same(secret, row.secrets[0]):
        return False
    if row.managed == Managed.API and not row.secret_is_set:
        return False
    # As a change of what is wanted, so that a run which does not know of it leaves the row due.
    Subscription.objects.filter(pk=row.pk).update(
        secret_seen_no=row.secret_no, generation=F("generation") + 1, due_at=timezone.now()
    )
    note(row, "new secret seen in a request", SCHEDULER)
    return True


def finish(row: Subscription, *, settled: bool) -> bool:
    """Drops the old secrets when the time has come. `settled`: at the provider all is as wanted, so that nothing uses
    an old one any more. True when the row was changed; it is read again then."""
    if row.rotation_asked_at is None or not _over(row, settled=settled):
        return False
    with transaction.atomic():
        rows = Subscription.objects.filter(pk=row.pk, secret_no=row.secret_no, rotation_asked_at=row.rotation_asked_at)
        locked = rows.select_for_update(no_key=True).only("secrets").first()
        if locked is None:  # another rotation was asked for meanwhile
            return False
        rows.update(secrets=locked.secrets[:1], rotation_asked_at=None, old_revoked=False)
        _drop(row, locked.secrets[1:])
        note(row, "old secret no longer accepted", SCHEDULER)
    row.refresh_from_db(fields=["secrets", "rotation_asked_at", "old_revoked"])
    return True


def _over(row: Subscription, *, settled: bool) -> bool:
    was_seen = row.secret_seen_no == row.secret_no
    if row.managed == Managed.MANUAL:
        return was_seen
    if not row.secret_is_set:
        return False
    if row.old_revoked:
        return True
    # Where the provider makes the secret, what was registered before goes on with the old one until it is gone.
    made_by = row.account.plugin.capabilities.secret_made_by
    return was_seen and (settled or made_by is SecretMadeBy.US)


def words(row: Subscription) -> str:
    """How far a rotation is, in words that a person understands; empty when none is under way."""
    if row.rotation_asked_at is None:
        return ""
    if row.managed == Managed.MANUAL:
        if row.old_revoked:
            return "Enter the new secret at the provider: the old one is no longer accepted."
        return "Enter the new secret at the provider. Both are accepted until a request proves itself by the new one."
    if row.secret_is_set:
        if row.secret_seen_no == row.secret_no:
            return "The new secret was seen in a request; the old one goes as soon as nothing uses it any more."
        return (
            f"The provider has its new secret since {readable_time(row.secret_set_at)}. "
            "Both are accepted until a request proves itself by the new one."
        )
    way = "The provider gets a new secret" if row.enabled else "When it is switched on, the provider gets a new secret"
    if not row.old_revoked:
        return f"{way}; until that has been seen in a request, the old one is accepted as well."
    if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
        return f"{way}; the old one is no longer accepted."
    return f"{way}; the old one is refused as soon as the new one is known."


def former_secrets(row: Subscription) -> list[str]:
    """Those that are no longer accepted, as far as they are kept. None where no encryption key opens them any more."""
    if row.secret_no == 1:
        return []
    try:
        return list(row.former_secrets.order_by("-pk").values_list("value", flat=True))
    except Undecryptable:
        return []


def _drop(subscription: Subscription, secrets: list[str]) -> None:
    """Keeps a few of those that are no longer accepted, newest first."""
    for value in reversed(secrets):
        FormerSecret.objects.create(subscription_id=subscription.pk, value=value)
    kept = subscription.former_secrets.order_by("-pk").values_list("pk", flat=True)[:MOST_FORMER]
    subscription.former_secrets.exclude(pk__in=list(kept)).delete()


def long_under_way(now: datetime) -> Q:
    """Subscriptions whose rotation should have been over long ago."""
    return Q(rotation_asked_at__lt=now - UNSEEN_AFTER)
