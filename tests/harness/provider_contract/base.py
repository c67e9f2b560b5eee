"""The base class of contract tests: the declarations of a plug-in's test, and helpers."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from providers.contract.base import AnyProvider, Registration
from providers.contract.capabilities import Capabilities, Proof, SecretMadeBy
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.contract.schemas import validate
from tests.harness.inbound import CALLBACK_URL, inbound

T = TypeVar("T", bound=Callable[..., None])


def needs(condition: Callable[[Capabilities], bool]) -> Callable[[T], T]:
    """Mark a test that applies only to providers with these capabilities."""

    def mark(test: T) -> T:
        vars(test)["needs"] = condition
        return test

    return mark


class ContractBase(ABC):
    """The declarations of a plug-in's contract test, and helpers for the tests."""

    # -- Declarations of a subclass ------------------------------------------------------------------------------

    provider: ClassVar[AnyProvider]
    fixtures: ClassVar[Path]
    settings: ClassVar[Mapping[str, object]]
    credentials: ClassVar[Mapping[str, object]]
    config: ClassVar[Mapping[str, object]]
    other_config: ClassVar[Mapping[str, object]]  # differs from `config` in fields that an update can change
    everything: ClassVar[Mapping[str, object]]  # a config that receives every event type
    body_fields: ClassVar[Sequence[str]]  # of a webhook's body, first the one that holds the event type
    hostile_json_that_is_an_event: ClassVar[Collection[str]] = ()  # keys of HOSTILE_JSON
    refusal_status: ClassVar[int] = 400  # with which the provider refuses a registration
    sandbox_options: ClassVar[Mapping[str, object]] = {}  # such as higher rate limits

    # -- Methods that a subclass may override --------------------------------------------------------------------

    def fixture_request(self, path: Path) -> InboundRequest:
        """Return the request of a fixture: by default a POST of the file."""
        return inbound(path.read_bytes())

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        """Return the request with the provider's authentication: by default the header of `secret_hint`."""
        hint = self.provider.secret_hint(self.checked_settings(), secret)
        assert hint.header
        assert hint.value
        return dataclasses.replace(request, headers=(*request.headers, (hint.header, hint.value)))

    def config_for(self, event_type: str) -> Mapping[str, object]:
        """Return a config that receives this event type, for providers where no config receives all."""
        return self.everything

    @classmethod
    def fixture_name(cls, event_type: str) -> str:
        """Return the name of the fixture that each event type must have."""
        return event_type.replace(":", "__")

    # -- Helpers --------------------------------------------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        """Remove the tests that this provider's capabilities rule out."""
        super().__init_subclass__()
        if not hasattr(cls, "provider"):
            return  # one of the classes of this package
        for name in dir(cls):
            condition = getattr(getattr(cls, name, None), "needs", None)
            if condition and not condition(cls.provider.capabilities):
                setattr(cls, name, None)

    @classmethod
    def payloads(cls) -> list[Path]:
        """Return all fixtures without the expected results."""
        return sorted(path for path in cls.fixtures.iterdir() if not path.name.endswith(".expected.json"))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize tests with each fixture and each event type."""
        if "payload" in metafunc.fixturenames:
            metafunc.parametrize("payload", self.payloads(), ids=lambda path: path.stem)
        if "event_type" in metafunc.fixturenames:
            single = [item.name for item in self.provider.event_types if not item.wildcard]
            metafunc.parametrize("event_type", single)

    def checked_settings(self, **changes: object) -> Any:
        """Return validated settings."""
        return validate(self.provider.settings_model, {**self.settings, **changes})

    def checked_config(self, config: Mapping[str, object] | None = None) -> Any:
        """Return a validated config."""
        return validate(self.provider.config_model, self.config if config is None else config)

    def registration(self, **changes: Any) -> Registration[Any]:
        """Return the registration that the tests use, with these changes."""
        made_by_us = self.provider.capabilities.secret_made_by is SecretMadeBy.US
        values: dict[str, Any] = {
            "callback_url": CALLBACK_URL,
            "config": self.checked_config(),
            "secret": self.provider.new_secret() if made_by_us else None,
            "name": "Contract suite",
        }
        return Registration(**{**values, **changes})

    def secret(self) -> str:
        """Return a secret in the form of this provider."""
        return self.provider.new_secret()

    def expected_success(self, index: int) -> tuple[VerificationResult, int | None]:
        """Return the expected result and secret index of an authentic request."""
        if self.provider.capabilities.proof is Proof.URL:
            return VerificationResult.NOT_VERIFIABLE, None
        return VerificationResult.VERIFIED, index

    def expected_failure(self) -> VerificationResult:
        """Return the expected result of a request that is not authentic."""
        if self.provider.capabilities.proof is Proof.URL:
            return VerificationResult.NOT_VERIFIABLE
        return VerificationResult.FAILED
