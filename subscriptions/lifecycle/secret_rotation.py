"""Rotating the secret that authenticates inbound requests, without losing a request.

The new secret is committed before it is sent to the provider, and the old one stays accepted beside it. The plan sends
the new one by an update, or, where the provider creates the secret or has no such update, by a new registration beside
the old one. The receiver records when a request was authenticated with the new secret; only then is the old one
retired, unless a person revokes it. There is no timeout, so a subscription that is silent for weeks loses no request.

The progress is derived from the row, so a rotation resumes after a crash at any line.
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
from subscriptions.lifecycle.activity_log import log_subscription
from subscriptions.models import FormerSecret, Managed, Subscription

MAX_ACCEPTED_SECRETS = 5  # at the same time; the provider may still use any of them
MAX_FORMER_SECRETS = 3  # no longer accepted, but stored so that a person can release requests signed with them
PROGRESS_FIELDS = (  # the fields that `progress_text` reads
    *("rotation_asked_at", "managed", "old_revoked", "remote_secret_no", "secret_no", "secret_seen_no"),
    *("secret_set_at", "enabled"),
)
OVERDUE_AFTER = timedelta(days=7)  # a rotation that takes longer is a problem


class TooManyRotations(Conflict):
    """Another rotation would make more secrets accepted than are allowed."""


@transaction.atomic
def rotate(subscription: Subscription, *, by: str, revoke: bool = False) -> None:
    """Request a new secret. The old one stays accepted until a request is authenticated with the new one.

    `revoke` is for a leaked secret. Where Hookkeeper creates the secret, the old one is refused from now on, even while
    the provider still uses it; where the provider creates it, as soon as it has created the new one. Refused requests
    are stored, and a person can release them. Raises TooManyRotations.
    """
    plugin = subscription.account.plugin
    locked = Subscription.objects.select_for_update(no_key=True).only("secrets").get(pk=subscription.pk)
    secrets = locked.secrets
    if plugin.capabilities.secret_made_by is SecretMadeBy.US:
        old_secrets = [] if revoke else secrets
        _retire(subscription, secrets[len(old_secrets) :])
        secrets = [plugin.new_secret(), *old_secrets]
        if len(secrets) > MAX_ACCEPTED_SECRETS:
            raise TooManyRotations(
                f"{len(old_secrets)} secrets are already accepted, because no request has been authenticated with a "
                "new one. Wait for such a request, or revoke the old secrets."
            )
    subscription.change_desired_state(
        by=by,
        secrets=secrets,
        secret_no=F("secret_no") + 1,
        rotation_asked_at=timezone.now() if locked.secrets else None,  # without an old one there is nothing to wait for
        old_revoked=revoke,
    )
    after = {"old secret": "revoked" if revoke else "still accepted"}
    log_subscription(subscription, "secret rotation requested", by, after=after)


@transaction.atomic
def enter_secret(subscription: Subscription, value: str, *, by: str) -> None:
    """Store the secret that the provider showed to the person who registered the subscription manually.

    A secret that was entered before stays accepted until a request is authenticated with this one. Use
    `actions.enter_secret`, which checks that the subscription allows it.
    """
    locked = Subscription.objects.select_for_update(no_key=True).only("secrets").get(pk=subscription.pk)
    others = [secret for secret in locked.secrets if secret != value]
    old_secrets = others[: MAX_ACCEPTED_SECRETS - 1]
    _retire(subscription, others[len(old_secrets) :])
    is_new = locked.secrets[:1] != [value]
    if is_new:
        Subscription.objects.filter(pk=subscription.pk).update(
            secrets=[value, *old_secrets],
            secret_no=F("secret_no") + 1,
            rotation_asked_at=timezone.now() if old_secrets else None,
            old_revoked=False,
            generation=F("generation") + 1,
            due_at=timezone.now(),
        )
    log_subscription(subscription, "secret entered", by)
    subscription.refresh_from_db()


@transaction.atomic
def record_seen(subscription_pk: int, secret: str) -> bool:
    """Record that a request was authenticated with the new secret of a rotation. The reconciler does the rest.

    Before the provider has the new secret, only a person can have sent such a request, and nothing is recorded. Return
    whether nothing is left to record: the secret has been recorded, now or before, or no rotation is under way.
    """
    row = Subscription.objects.select_for_update(no_key=True).filter(pk=subscription_pk, deleted_at=None).first()
    if row is None or row.rotation_asked_at is None or row.secret_seen_no == row.secret_no:
        return True
    if not row.secrets or not same(secret, row.secrets[0]):
        return False
    if row.managed == Managed.API and not row.secret_is_set:
        return False
    # Written as a change of the desired state, so that a concurrent pass that has not read it leaves the row due.
    Subscription.objects.filter(pk=row.pk).update(
        secret_seen_no=row.secret_no, generation=F("generation") + 1, due_at=timezone.now()
    )
    log_subscription(row, "new secret seen in a request", SCHEDULER)
    return True


def finish_rotation(row: Subscription, *, settled: bool) -> bool:
    """Retire the old secrets if the rotation is over, reload the row, and return whether that happened.

    `settled` says that the provider matches the desired state, so that nothing uses an old secret any more.
    """
    if row.rotation_asked_at is None or not _is_over(row, settled=settled):
        return False
    with transaction.atomic():
        rows = Subscription.objects.filter(pk=row.pk, secret_no=row.secret_no, rotation_asked_at=row.rotation_asked_at)
        locked = rows.select_for_update(no_key=True).only("secrets").first()
        if locked is None:  # another rotation was requested meanwhile
            return False
        rows.update(secrets=locked.secrets[:1], rotation_asked_at=None, old_revoked=False)
        _retire(row, locked.secrets[1:])
        log_subscription(row, "old secret no longer accepted", SCHEDULER)
    row.refresh_from_db(fields=["secrets", "rotation_asked_at", "old_revoked"])
    return True


def _is_over(row: Subscription, *, settled: bool) -> bool:
    was_seen = row.secret_seen_no == row.secret_no
    if row.managed == Managed.MANUAL:
        return was_seen
    if not row.secret_is_set:
        return False
    if row.old_revoked:
        return True
    # Where the provider creates the secret, the old registration uses the old one until it is deleted.
    made_by = row.account.plugin.capabilities.secret_made_by
    return was_seen and (settled or made_by is SecretMadeBy.US)


def progress_text(row: Subscription) -> str:
    """Describe the progress of a rotation for a person; an empty string if none is under way."""
    if row.rotation_asked_at is None:
        return ""
    if row.managed == Managed.MANUAL:
        if row.old_revoked:
            return "Enter the new secret at the provider: the old one is no longer accepted."
        return "Enter the new secret at the provider. Both are accepted until a request uses the new one."
    if row.secret_is_set:
        if row.secret_seen_no == row.secret_no:
            return "A request used the new secret. The old one is retired as soon as nothing uses it any more."
        return (
            f"The provider has had the new secret since {readable_time(row.secret_set_at)}. Both are accepted until a "
            "request uses the new one."
        )
    start = "The new secret is being sent to the provider"
    if not row.enabled:
        start = "The new secret is sent to the provider when the subscription is enabled"
    if not row.old_revoked:
        return f"{start}. Both are accepted until a request uses the new one."
    if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
        return f"{start}. The old one is no longer accepted."
    return f"{start}. The old one is refused as soon as the new one is known."


def former_secrets(row: Subscription) -> list[str]:
    """Return the retired secrets that are still stored, or an empty list if no encryption key decrypts them."""
    if row.secret_no == 1:
        return []
    try:
        return list(row.former_secrets.order_by("-pk").values_list("value", flat=True))
    except Undecryptable:
        return []


def overdue(now: datetime) -> Q:
    """Return a filter for subscriptions whose rotation takes longer than it should."""
    return Q(rotation_asked_at__lt=now - OVERDUE_AFTER)


def _retire(subscription: Subscription, secrets: list[str]) -> None:
    """Store secrets (newest first) as no longer accepted, and delete all but the newest retired ones."""
    for value in reversed(secrets):
        FormerSecret.objects.create(subscription_id=subscription.pk, value=value)
    newest = subscription.former_secrets.order_by("-pk").values_list("pk", flat=True)[:MAX_FORMER_SECRETS]
    subscription.former_secrets.exclude(pk__in=list(newest)).delete()
