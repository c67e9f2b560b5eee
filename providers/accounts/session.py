"""Sessions for calls to an account's provider, and the check of its credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.utils import timezone

from providers.accounts import circuit_breaker
from providers.accounts.circuit_breaker import AccountGate
from providers.accounts.rate_limiter import DatabaseLimiter
from providers.accounts.tokens import DatabaseTokens
from providers.audit.actors import SCHEDULER
from providers.audit.state_changes import write
from providers.contract.address_guard import AddressGuard
from providers.contract.call_limits import Priority
from providers.contract.errors import CallsPaused, InvalidInput, ProviderError, Refused
from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.models import AccountStatus, ProviderAccount

_STATUS_COLUMNS = ("status", "status_reason", "checked_at", "sync_due_at", *circuit_breaker.NO_PAUSE)


def address_guard() -> AddressGuard:
    """Return the configured guard, which allows ALLOW_PRIVATE_NETWORKS and the address and port of the sandbox."""
    endpoints = frozenset[tuple[str, int]]()
    if django_settings.SANDBOX_URL:
        parts = urlsplit(django_settings.SANDBOX_URL)
        endpoints = frozenset({(parts.hostname or "", parts.port or 80)})
    return AddressGuard(networks=tuple(django_settings.ALLOW_PRIVATE_NETWORKS), endpoints=endpoints)


@contextmanager
def open_session(
    account: ProviderAccount,
    *,
    priority: Priority = Priority.CHANGE,
    deadline: float | None = None,
    record: Callable[[Exchange], None] | None = None,
    secrets: Sequence[str] = (),
    before_call: Callable[[], None] | None = None,
    force: bool = False,
) -> Iterator[ProviderSession[Any, Any]]:
    """Open a session for an account.

    `deadline` (monotonic seconds) limits all its calls together. `secrets` are masked in recorded calls, in addition
    to the credentials. `force` is set when a person requested the calls, which are then made even during a pause.
    Raises Refused
    if the stored settings or credentials do not match the provider's schema.
    """
    plugin = account.plugin
    try:
        settings = validate(plugin.settings_model, account.settings)
        credentials = validate(plugin.credentials_model, account.credentials)
    except InvalidInput as error:
        raise Refused(f"The account's settings or credentials are incomplete: {error}. Edit the account.") from None
    gate = AccountGate(account, force=force)
    http = Http(
        guard=address_guard(),
        limiter=DatabaseLimiter(account, plugin.rate_limit(settings)),
        secrets=(*credentials.secret_values(), *secrets),
        secret_keys=plugin.secret_keys,
        deadline=deadline,
        record=record,
        priority=priority,
        before_call=before_call,
        gate=gate,
    )
    with http:
        try:
            yield ProviderSession(settings=settings, credentials=credentials, http=http, tokens=DatabaseTokens(account))
        except ProviderError as error:
            gate.failed(error)
            raise
        gate.worked()


def check(account: ProviderAccount, *, deadline: float | None = None, by: str = SCHEDULER, force: bool = True) -> None:
    """Check the credentials with the provider's identity call, and store the result: `ok`, or `failing` with a reason.

    `by` is the actor. If the call cannot be made (network, throttling), the status is unchanged and the reason is
    stored. During a pause the call is made only with `force`. Never raises ProviderError.
    """
    try:
        with open_session(account, deadline=deadline, force=force) as session:
            identity = account.plugin.identify(session)
    except CallsPaused:
        account.refresh_from_db(fields=_STATUS_COLUMNS)
        return
    except ProviderError as error:
        set_failure(account, error)
    else:
        circuit_breaker.end_pause(account, circuit_breaker.AUTHENTICATION)
        account.status = AccountStatus.OK
        account.status_reason = identity.warning or ""
        account.identity = dict(identity.facts)
    account.checked_at = timezone.now()
    save_facts(account, "status", "status_reason", "identity", "checked_at", by=by)
    account.refresh_from_db(fields=_STATUS_COLUMNS)


def save_facts(account: ProviderAccount, *names: str, by: str = SCHEDULER) -> None:
    """Write these fields. A change of the status is recorded on the timeline."""
    rows = ProviderAccount.with_deleted.filter(pk=account.pk)
    write(rows, by=by, **{name: getattr(account, name) for name in names})


def set_failure(account: ProviderAccount, error: ProviderError) -> None:
    """Set status and reason from an error, without saving. Only a permanent error makes an account `failing`."""
    if error.permanent:
        account.status = AccountStatus.FAILING
    account.status_reason = error.message


def accounts_sharing_limit(account: ProviderAccount) -> list[ProviderAccount]:
    """Return the other accounts whose webhooks count against the same limit at the provider.

    They are the accounts whose known identities agree with this one in `Capabilities.count_limit_by`.
    """
    names = account.plugin.capabilities.count_limit_by
    identity = [account.identity.get(name) for name in names]
    if not names or None in identity:
        return []
    others = ProviderAccount.objects.filter(provider=account.provider).exclude(pk=account.pk).order_by("name", "pk")
    return [other for other in others if [other.identity.get(name) for name in names] == identity]
