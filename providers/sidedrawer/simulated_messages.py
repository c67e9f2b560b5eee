"""Build the bodies and hashes of simulated SideDrawer notifications."""

from __future__ import annotations

import base64
import hashlib
import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from providers.sandbox.tenant import Event


def notification(event: Event, style: str) -> object:
    """Return the JSON of a notification in one of the likely formats."""
    body = dict(event.body)
    if style == "list":
        return [body]
    if style == "event":
        resource, modification = body.pop("resource"), body.pop("modificationType")
        return {"event": {"resource": resource, "action": f"{modification}d".upper(), **body}}
    return body


def encrypt(body: bytes, key: str) -> bytes:
    """Encrypt a body with the integrity key; the nonce precedes the ciphertext."""
    nonce = secrets.token_bytes(12)
    return base64.b64encode(nonce + AESGCM(hashlib.sha256(key.encode()).digest()).encrypt(nonce, body, None))


def encode_hash(digest: bytes, encoding: str) -> str:
    """Encode a hash, possibly with a prefix, as in `sha256=hex`."""
    prefix, _, form = encoding.rpartition("=")
    encodings = {
        "hex": digest.hex(),
        "HEX": digest.hex().upper(),
        "base64": base64.b64encode(digest).decode(),
        "base64url": base64.urlsafe_b64encode(digest).decode().rstrip("="),
    }
    return f"{prefix}={encodings[form]}" if prefix else encodings[form]
