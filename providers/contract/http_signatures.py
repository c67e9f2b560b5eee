"""Verify HTTP Message Signatures (RFC 9421) with HMAC-SHA256, and Content-Digest (RFC 9530).

Messages may be hostile: anything unusual is refused with a reason, in bounded time. The signature parameters are used
byte for byte as sent, never serialized again. The caller decides which components must be covered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

ALGORITHM = "hmac-sha256"
MAX_FIELD = 8 * 1024  # characters of a header that is parsed or covered; longer headers are refused
MAX_SIGNATURES = 8
MAX_COMPONENTS = 32
CLOCK_SKEW = timedelta(minutes=5)  # how far ahead the signer's clock may be

_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "sha-256": lambda body: hashlib.sha256(body).digest(),
    "sha-512": lambda body: hashlib.sha512(body).digest(),
}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class SignatureRefused(ValueError):
    """The message is not validly signed. The text explains why and never contains a key."""


@dataclass(frozen=True, slots=True)
class Message:
    """An HTTP message.

    `target_uri` is the URL as the signer knows it, which behind a proxy differs from the Host header.
    """

    method: str
    target_uri: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """The requirements on a signature.

    `must_cover` names the required components. `max_age` limits the age of `created`; None accepts any age. `created`
    may be missing if no age is checked or `must_be_dated` is false. `expires` and a `created` in the future are always
    checked if present.
    """

    must_cover: tuple[str, ...]
    max_age: timedelta | None = None
    must_be_dated: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """The label of the valid signature, and the index of its key."""

    label: str
    key_index: int


def verify_hmac(message: Message, keys: Sequence[bytes], policy: Policy, now: datetime) -> Match:
    """Return the first signature that meets the policy and matches one of the keys. Raises SignatureRefused.

    An empty key never matches. If the content digest must be covered, it is compared with the body first. Several
    signatures are never combined: one of them must meet the whole policy.
    """
    fields = _by_name(message.headers)
    if "content-digest" in policy.must_cover:
        check_content_digest(message)
    inputs = _read_inputs(_required(fields, "signature-input"))
    signatures = _read_bytes(_required(fields, "signature"), "Signature")
    if not inputs:
        raise SignatureRefused("The header Signature-Input is empty.")
    reasons: list[str] = []
    for label, signed in inputs.items():
        try:
            base = _base(message, fields, signed, policy, now)
            return Match(label, _matching_key(base, signatures.get(label), keys))
        except SignatureRefused as refusal:
            reasons.append(f"Signature {label}: {refusal}")
    raise SignatureRefused(" ".join(reasons))


def check_content_digest(message: Message) -> None:
    """Compare Content-Digest with the body. Raises SignatureRefused.

    At least one of sha-256 and sha-512 must be present, and each that is present must match; others are ignored.
    """
    digests = _read_bytes(_required(_by_name(message.headers), "content-digest"), "Content-Digest")
    known = [name for name in digests if name in _DIGESTS]
    if not known:
        raise SignatureRefused(f"Content-Digest has none of {', '.join(_DIGESTS)}.")
    for name in known:
        if not hmac.compare_digest(_DIGESTS[name](message.body), digests[name]):
            raise SignatureRefused(f"The {name} in Content-Digest is not that of the body.")


# -- One signature ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Input:
    """One member of Signature-Input. `raw` is its unmodified text from the first bracket on."""

    components: tuple[str, ...]
    has_parameters: bool  # of single components, such as `;sf` or `;req`
    parameters: Mapping[str, int | str | None]
    raw: str


def _base(message: Message, fields: Mapping[str, list[str]], signed: _Input, policy: Policy, now: datetime) -> bytes:
    """Return the signature base of RFC 9421, section 2.5, after all checks but the HMAC."""
    if signed.has_parameters:
        raise SignatureRefused("It has components with parameters, which are not supported.")
    if len(signed.components) > MAX_COMPONENTS:
        raise SignatureRefused(f"It covers more than {MAX_COMPONENTS} components.")
    if len(set(signed.components)) != len(signed.components):
        raise SignatureRefused("It covers a component twice.")
    missing = [name for name in policy.must_cover if name not in signed.components]
    if missing:
        raise SignatureRefused(f"It does not cover {', '.join(missing)}.")
    _check_parameters(signed.parameters, policy, now)
    lines = [f'"{name}": {_component(message, fields, name)}' for name in signed.components]
    return "\n".join([*lines, f'"@signature-params": {signed.raw}']).encode("ascii")


def _check_parameters(parameters: Mapping[str, int | str | None], policy: Policy, now: datetime) -> None:
    if parameters.get("alg", ALGORITHM) != ALGORITHM:
        raise SignatureRefused(f"Its algorithm is not {ALGORITHM}.")
    expires, created = (_seconds(parameters, name) for name in ("expires", "created"))
    if expires is not None and expires <= now.timestamp():
        raise SignatureRefused("It has expired.")
    if created is not None and created > (now + CLOCK_SKEW).timestamp():
        raise SignatureRefused("It was created in the future.")
    if policy.max_age is None:
        return
    if created is None:
        if policy.must_be_dated:
            raise SignatureRefused("It does not say when it was created, so its age cannot be checked.")
    elif created < (now - policy.max_age).timestamp():
        raise SignatureRefused("It was created too long ago.")


def _seconds(parameters: Mapping[str, int | str | None], name: str) -> int | None:
    if name not in parameters:
        return None
    value = parameters[name]
    if not isinstance(value, int):
        raise SignatureRefused(f"Its parameter {name} is not a time.")
    return value


def _matching_key(base: bytes, signature: bytes | None, keys: Sequence[bytes]) -> int:
    if signature is None:
        raise SignatureRefused("The header Signature does not have it.")
    for index, key in enumerate(keys):
        if key and hmac.compare_digest(hmac.new(key, base, hashlib.sha256).digest(), signature):
            return index
    raise SignatureRefused("It matches none of the keys.")


# -- Components ------------------------------------------------------------------------------------------------------

_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PRINTABLE = re.compile(r"[\x20-\x7e\t]*")


def _component(message: Message, fields: Mapping[str, list[str]], name: str) -> str:
    if not name.startswith("@"):
        if not _FIELD_NAME.fullmatch(name):
            raise SignatureRefused("It covers a component with an invalid name.")
        return _required(fields, name)
    if name == "@method":
        return _printable(message.method, name)
    derive = _DERIVED.get(name)
    if derive is None:
        raise SignatureRefused("It covers a derived component that is not supported.")
    try:
        parts = urlsplit(message.target_uri)
    except ValueError:
        raise SignatureRefused("The target URI is not a URL.") from None
    return _printable(derive(message.target_uri, parts), name)


def _authority(uri: str, parts: SplitResult) -> str:
    return parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ":"))


_DERIVED: Mapping[str, Callable[[str, SplitResult], str]] = {
    "@target-uri": lambda uri, parts: uri,
    "@authority": _authority,
    "@scheme": lambda uri, parts: parts.scheme,
    "@request-target": lambda uri, parts: (parts.path or "/") + (f"?{parts.query}" if "?" in uri else ""),
    "@path": lambda uri, parts: parts.path or "/",
    "@query": lambda uri, parts: f"?{parts.query}",
}


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def _required(fields: Mapping[str, list[str]], name: str) -> str:
    """Return a header's value; repeated headers are joined as in section 2.1."""
    values = fields.get(name)
    if values is None:
        raise SignatureRefused(f"There is no header {name.title()}.")
    if sum(len(value) + 2 for value in values) > MAX_FIELD:
        raise SignatureRefused(f"The header {name.title()} is longer than {MAX_FIELD} characters.")
    return ", ".join(_printable(value, name.title()).strip(" \t") for value in values)


def _printable(value: str, name: str) -> str:
    # A line break in a value could make one component look like two.
    if not _PRINTABLE.fullmatch(value):
        raise SignatureRefused(f"{name} contains a line break or something other than printable ASCII.")
    return value


# -- Structured fields (RFC 8941), the parts used here ------------------------------------------------------

_SPACES = re.compile(r" *")
_BETWEEN = re.compile(r"[ \t]*,[ \t]*")
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]{0,63}")
_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_OTHER_ITEM = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,3}|:[A-Za-z0-9+/=]*:|\?[01]|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")


class _Scanner:
    """Reads a text from start to end; text that does not match is refused."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.position = 0

    @property
    def done(self) -> bool:
        return self.position >= len(self.text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.position)
        if match:
            self.position = match.end()
        return match

    def need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        return self.take(pattern) or self.refuse()

    def skip(self, character: str) -> bool:
        if not self.text.startswith(character, self.position):
            return False
        self.position += 1
        return True

    def refuse(self) -> NoReturn:
        raise SignatureRefused(f"The header {self.name} is malformed at character {self.position + 1}.")

    def key(self, known: Mapping[str, object]) -> str:
        """Read the key of a dictionary's member. Repeated keys are refused, because parsers treat them differently."""
        if len(known) >= MAX_SIGNATURES:
            raise SignatureRefused(f"The header {self.name} has more than {MAX_SIGNATURES} members.")
        key = self.need(_KEY).group()
        if key in known:
            raise SignatureRefused(f"The header {self.name} has the member {key} twice.")
        if not self.skip("="):
            self.refuse()
        return key

    def next_member(self) -> bool:
        """Skip the comma before the next member. Return False at the end."""
        if self.done:
            return False
        self.need(_BETWEEN)
        return not self.done or self.refuse()

    def parameters(self) -> dict[str, int | str | None]:
        """Read all `;name=value`: integers and strings by value, anything else as None."""
        parameters: dict[str, int | str | None] = {}
        while self.skip(";"):
            self.need(_SPACES)
            name = self.need(_KEY).group()
            if name in parameters:
                raise SignatureRefused(f"The header {self.name} has the parameter {name} twice.")
            parameters[name] = self.item() if self.skip("=") else None
        return parameters

    def item(self) -> int | str | None:
        if text := self.take(_STRING):
            return _unescaped(text)
        if number := self.take(_INTEGER):
            return int(number.group())
        self.need(_OTHER_ITEM)
        return None


def _unescaped(text: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", text.group(1))


def _read_inputs(value: str) -> dict[str, _Input]:
    """Return the members of Signature-Input by label."""
    scanner = _Scanner(value, "Signature-Input")
    inputs: dict[str, _Input] = {}
    while not scanner.done:
        label = scanner.key(inputs)
        start = scanner.position
        components, has_parameters = _read_components(scanner)
        parameters = scanner.parameters()
        inputs[label] = _Input(components, has_parameters, parameters, scanner.text[start : scanner.position])
        if not scanner.next_member():
            break
    return inputs


def _read_components(scanner: _Scanner) -> tuple[tuple[str, ...], bool]:
    """Return the component names between the brackets, and whether any has parameters."""
    if not scanner.skip("("):
        scanner.refuse()
    names: list[str] = []
    has_parameters = False
    while True:
        gap = scanner.need(_SPACES).group()
        if scanner.skip(")"):
            return tuple(names), has_parameters
        if names and not gap:
            scanner.refuse()
        names.append(_unescaped(scanner.need(_STRING)))
        has_parameters = bool(scanner.parameters()) or has_parameters


def _read_bytes(value: str, name: str) -> dict[str, bytes]:
    """Return a dictionary of byte sequences, such as Signature and Content-Digest."""
    scanner = _Scanner(value, name)
    members: dict[str, bytes] = {}
    while not scanner.done:
        key = scanner.key(members)
        encoded = scanner.need(_BYTES).group(1)
        try:
            members[key] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise SignatureRefused(f"The header {name} has a member that is not base64.") from None
        scanner.parameters()
        if not scanner.next_member():
            break
    return members
