"""Acme Box: the shared contract suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from providers.acme_box import provider
from providers.acme_box.provider import SIGNATURE, signature

from providers.contract.parsing import InboundRequest
from tests.harness.provider_contract import ProviderContract


class TestAcmeBox(ProviderContract):
    provider = provider
    fixtures = Path(__file__).parent.parent / "fixtures"
    settings: ClassVar[Mapping[str, object]] = {"team": "blue"}
    credentials: ClassVar[Mapping[str, object]] = {"key": "k-12345678"}
    config: ClassVar[Mapping[str, object]] = {"kinds": ["box.filled"]}
    other_config: ClassVar[Mapping[str, object]] = {"kinds": ["box.emptied"]}
    everything: ClassVar[Mapping[str, object]] = {"kinds": ["box.filled", "box.emptied"]}

    body_fields = ("kind", "id", "box")

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        return replace(request, headers=(*request.headers, (SIGNATURE, signature(secret, request.body))))
