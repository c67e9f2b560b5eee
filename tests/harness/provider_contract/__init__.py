"""The contract tests of provider plug-ins. Each plug-in's `tests/test_contract.py` subclasses `ProviderContract`.

Declarations, parsing, hostile requests, verification and odd responses need only the plug-in and its fixtures. The live
tests call the plug-in's simulator over HTTP. Tests that the declared capabilities rule out are removed from the class.
"""

from __future__ import annotations

import importlib

from tests.harness.provider_contract.declarations import DeclarationTests
from tests.harness.provider_contract.hostile_requests import HostileRequestTests
from tests.harness.provider_contract.odd_responses import OddResponseTests
from tests.harness.provider_contract.parsing import ParsingTests
from tests.harness.provider_contract.shown_forms import ShownFormTests
from tests.harness.provider_contract.verification import VerificationTests


class ProviderContract(
    DeclarationTests, ParsingTests, HostileRequestTests, VerificationTests, OddResponseTests, ShownFormTests
):
    """All contract tests. Subclass it as `Test...` beside the plug-in and set the declarations of `ContractBase`."""


def contract_of(slug: str) -> type[ProviderContract]:
    """Return the contract test of a plug-in, whose configs its simulator accepts."""
    module = importlib.import_module(f"providers.{slug.replace('-', '_')}.tests.test_contract")
    return next(
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, ProviderContract) and item is not ProviderContract
    )
