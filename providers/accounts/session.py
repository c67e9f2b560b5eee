"""From an account row to a login that can call its provider, and the check that tells whether it works."""

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

_NOTED = ("status", "status_reason", "checked_at", "look_due_at", *circuit_breaker.NO_PAUSE)


def address_guard() -> AddressGuard:
    """The guard as configured: ALLOW_PRIVATE_NETWORKS, and exactly the sandbox's address and port."""
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
    insist: bool = False,
) -> Iterator[ProviderSession[Any, Any]]:
    """A login for that account. `deadline` in monotonic seconds bounds all its calls together; `secrets` are masked
    in what is recorded, beside the credentials. `insist`: a person asks, so it is called even while the account's
    calls rest. Raises Refused when settings or credentials no longer fit."""
    plugin = account.plugin
    try:
        settings = validate(plugin.settings_model, account.settings)
        credentials = validate(plugin.credentials_model, account.credentials)
    except InvalidInput as error:
        raise Refused(f"The account's settings or credentials are not complete: {error}. Edit the account.") from None
    gate = AccountGate(account, insist=insist)
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


def check(account: ProviderAccount, *, deadline: float | None = None, by: str = SCHEDULER, insist: bool = True) -> None:
    """Asks the provider who we are and writes down the answer: `ok`, or `failing` with what to do. `by` is who asked.

    A call that could not be made (network, throttling) leaves the status as it was and says so. Never raises
    ProviderError. While the account's calls rest it is only made when somebody insists.
    """
    try:
        with open_session(account, deadline=deadline, insist=insist) as session:
            identity = account.plugin.identify(session)
    except CallsPaused:
        account.refresh_from_db(fields=_NOTED)
        return
    except ProviderError as error:
        note_failure(account, error)
    else:
        circuit_breaker.lift(account, circuit_breaker.AUTHENTICATION)
        account.status = AccountStatus.OK
        account.status_reason = identity.warning or ""
        account.identity = dict(identity.facts)
    account.checked_at = timezone.now()
    save_facts(account, "status", "status_reason", "identity", "checked_at", by=by)
    account.refresh_from_db(fields=_NOTED)


def save_facts(account: ProviderAccount, *names: str, by: str = SCHEDULER) -> None:
    """Writes these fields; a change of the status goes on the timeline."""
    rows = ProviderAccount.with_deleted.filter(pk=account.pk)
    write(rows, by=by, **{name: getattr(account, name) for name in names})


def note_failure(account: ProviderAccount, error: ProviderError) -> None:
    """Sets status and reason (unsaved) from an error: only a refusal makes an account `failing`."""
    if error.permanent:
        account.status = AccountStatus.FAILING
    account.status_reason = error.message


def share_the_limit(account: ProviderAccount) -> list[ProviderAccount]:
    """The other accounts whose webhooks count against the same limit at the provider, as far as checks have told whose
    credentials they are (see `Capabilities.count_limit_by`)."""
    names = account.plugin.capabilities.count_limit_by
    ours = [account.identity.get(name) for name in names]
    if not names or None in ours:
        return []
    others = ProviderAccount.objects.filter(provider=account.provider).exclude(pk=account.pk).order_by("name", "pk")
    return [other for other in others if [other.identity.get(name) for name in names] == ours]
