"""Account settings, credentials and subscription config of Acme Box."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig


class AcmeSettings(AccountSettings):
    """One Acme team."""

    team: str = Field(pattern=r"^[a-z]+$", title="Team", description="Its name in the address.", examples=["blue"])


class AcmeCredentials(Credentials):
    """A key of that team."""

    key: str = Field(min_length=8, title="API key", description="From the team's page.", examples=["k-12345678"])


class AcmeConfig(SubscriptionConfig):
    """The events to subscribe to."""

    kinds: tuple[Literal["box.filled", "box.emptied"], ...] = Field(
        min_length=1, title="Kinds", description="The events to subscribe to.", examples=[["box.filled"]]
    )
