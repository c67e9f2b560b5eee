"""Acme Box: a small provider that exists in the tests only. See tests/product/test_sixth_provider.py."""

from __future__ import annotations

from .provider import AcmeBox

provider = AcmeBox()
