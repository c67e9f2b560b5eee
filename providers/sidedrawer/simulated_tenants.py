"""The two tenants of the simulated SideDrawer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.sandbox.tenant import LoginName


@dataclass(frozen=True, slots=True)
class SimulatedTenant:
    """The fixed IDs and credentials of a tenant."""

    tenant_id: str
    brand: str
    token: str
    client_id: str
    client_secret: str
    drawer: str
    record: str
    open_id: str
    subscription: str


TENANTS: Mapping[LoginName, SimulatedTenant] = {
    LoginName.SPARE: SimulatedTenant(
        tenant_id="66f0a1b2c3d4e5f601230001",
        brand="acme",
        token="sandbox-sidedrawer-spare-token",  # noqa: S106 - of a simulation
        client_id="sandbox-sidedrawer-spare-client",
        client_secret="sandbox-sidedrawer-spare-secret",  # noqa: S106 - of a simulation
        drawer="66f0a1b2c3d4e5f6012300d1",
        record="66f0a1b2c3d4e5f6012300e1",
        open_id="auth0|66f0a1b2c3d4e5f6012300f1",
        subscription="66f0a1b2c3d4e5f6012300a1",
    ),
    LoginName.DEMO: SimulatedTenant(
        tenant_id="66f0a1b2c3d4e5f601230002",
        brand="globex",
        token="sandbox-sidedrawer-demo-token",  # noqa: S106 - of a simulation
        client_id="sandbox-sidedrawer-demo-client",
        client_secret="sandbox-sidedrawer-demo-secret",  # noqa: S106 - of a simulation
        drawer="66f0a1b2c3d4e5f6012300d2",
        record="66f0a1b2c3d4e5f6012300e2",
        open_id="auth0|66f0a1b2c3d4e5f6012300f2",
        subscription="66f0a1b2c3d4e5f6012300a2",
    ),
}
