"""Mask secrets in texts, JSON values and bodies, in every form in which a server may echo them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html.entities import codepoint2name

from providers.contract import strict_json
from providers.contract.sanitize import sanitize_text

MASK = "***"
MIN_SECRET_LENGTH = 4  # characters; masking shorter values would garble unrelated text
_ESCAPING = re.compile(r"[\\%&+]")  # without one of these, a text contains no escaped form


class SecretMask:
    """Masks the values in `secrets`, and in JSON also the values of the keys in `secret_keys`."""

    def __init__(self, secrets: Iterable[str] = (), secret_keys: Iterable[str] = ()) -> None:
        self.secrets: tuple[str, ...] = ()
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._keys = frozenset(key.lower() for key in secret_keys)
        for secret in sorted(secrets, key=len, reverse=True):  # longest first: a secret may contain a shorter one
            self.add(secret)

    def add(self, secret: str) -> None:
        """Mask one more secret from now on."""
        self.secrets = (*self.secrets, secret)
        if len(secret) >= MIN_SECRET_LENGTH:
            self._patterns[secret] = re.compile("".join(map(_escaped_forms, secret)))

    def text(self, text: str) -> str:
        """Return the text with every secret masked, sanitized."""
        return sanitize_text(self._replace(text))

    def json(self, value: object) -> object:
        """Return the same JSON with every secret masked, also in JSON objects within strings."""
        return self._json(value, self._keys)

    def body(self, body: bytes, *, by_key: bool = False) -> bytes:
        """Return a body with every secret masked. Do this before anything is cut, which may leave half of a secret.

        `by_key` also masks the values of `secret_keys` in JSON, which may be error messages about these fields.
        """
        try:
            value = strict_json.loads(body)
        except ValueError:
            text = body.decode("utf-8", "surrogateescape")
            return self._replace(text).encode("utf-8", "surrogateescape")
        masked = self._json(value, self._keys if by_key else frozenset())
        return body if masked == value else json.dumps(masked).encode()

    def _json(self, value: object, keys: frozenset[str]) -> object:
        if isinstance(value, dict):
            return {
                sanitize_text(str(key)): MASK if str(key).lower() in keys and item else self._json(item, keys)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._json(item, keys) for item in value]
        return self.text(self._nested(value)) if isinstance(value, str) else value

    def _nested(self, text: str) -> str:
        if not text.lstrip().startswith("{"):
            return text
        try:
            return json.dumps(self.json(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            return text

    def _replace(self, text: str) -> str:
        escaped = _ESCAPING.search(text)
        for secret, pattern in self._patterns.items():
            text = text.replace(secret, MASK)
            if escaped:
                text = pattern.sub(MASK, text)
        return text


def contains_secret(text: str, secrets: Iterable[str]) -> bool:
    """Return whether the text contains one of the secrets."""
    return any(secret in text for secret in secrets if len(secret) >= MIN_SECRET_LENGTH)


def _escaped_forms(character: str) -> str:
    """Return a pattern for a character as it is, and as escaped in JSON, a URL or HTML, up to three times.

    The group is atomic, so that no text makes the search slow; the longer forms are therefore tried first.
    """
    code = ord(character)
    units = json.dumps(character)[1:-1] if code > 127 else f"\\u{code:04x}"
    forms = [
        "(?i:" + units.replace("\\u", r"\\{1,4}u") + ")",
        "".join(f"%(?:25){{0,2}}(?i:{byte:02x})" for byte in character.encode("utf-8", "surrogatepass")),
        f"&(?:amp;){{0,2}}#(?:0{{0,5}}{code}|(?i:x0{{0,5}}{code:x}));",
        *([f"&(?:amp;){{0,2}}{codepoint2name[code]};"] if code in codepoint2name else []),
        *([r"\+"] if character == " " else []),
        r"\\\\|\\" if character == "\\" else r"\\{0,4}" + re.escape(character),
    ]
    return f"(?>{'|'.join(forms)})"
