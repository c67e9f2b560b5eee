"""Verify that a request comes from the provider: on arrival, and again when a rejected request is reprocessed."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from pydantic import BaseModel

from events.storage.decompress import decompress_body
from providers.contract.base import AnyProvider
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest, Verification, VerificationResult


def verify(
    plugin: AnyProvider, inbound: InboundRequest, secrets: Sequence[str], account_settings: BaseModel
) -> Verification:
    """Verify the request with the plug-in.

    If the body is compressed and verification fails, try again with the uncompressed body: a signature may have been
    made before compression.
    """
    verification = plugin.verify(inbound, secrets, account_settings)
    if verification.result is not VerificationResult.FAILED:
        return verification
    try:
        plain = decompress_body(inbound, limit=settings.MAX_BODY_BYTES)
    except UnreadableRequest:
        return verification
    return verification if plain is inbound else plugin.verify(plain, secrets, account_settings)
