"""A desired state, registrations and capabilities to build plans from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from subscriptions.planning.states import DesiredState, ObservedState
from subscriptions.planning.steps import Plan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "https://hooks.example.test/hooks/t0ken"

CAPABILITIES = Capabilities(
    can_list=True,
    list_has_details=False,
    reveals_url=True,
    can_update=True,
    can_set_status=True,
    can_test=False,
    can_identify=True,
    renewal=Renewal.UPDATE,
    expiry_set_by=ExpirySetBy.PROVIDER,
    proof=Proof.HEADER,
    secret_made_by=SecretMadeBy.US,
    methods=("POST",),
    has_event_id=True,
)
DESIRED = DesiredState(
    present=True, enabled=True, auto_renew=True, by_api=True, callback_url=URL, config={"paths": ["/a"], "types": ["x"]}
)


def remote(remote_id: str = "r1", **changes: object) -> RemoteSubscription:
    """Return a registration that matches `DESIRED`, with these changes."""
    base = RemoteSubscription(
        remote_id=remote_id,
        status="enabled",
        enabled=True,
        expires_at=NOW + timedelta(seconds=80),
        url=URL,
        config=dict(DESIRED.config),
        secret_matches=True,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def observed_with(*remotes: RemoteSubscription, **changes: object) -> ObservedState:
    """Return an observed state with these registrations, of which `r1` is the current one."""
    base = ObservedState(remotes=remotes, current_id="r1", granted=timedelta(seconds=90))
    return replace(base, **changes)  # type: ignore[arg-type]


def actions(result: Plan) -> list[str]:
    """Return the actions of the steps, in order."""
    return [step.action.value for step in result.steps]
