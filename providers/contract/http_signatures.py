"""HTTP Message Signatures (RFC 9421) with HMAC-SHA256, and Content-Digest (RFC 9530): is a message what was signed?

Everything in a message may have been made to hurt: whatever is odd in it is refused with a reason, in bounded time.
The signature parameters are taken byte for byte as they were sent, never written anew from what was parsed.
No Django here, and no provider: which components must be covered is the caller's to say.
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
MAX_FIELD = 8 * 1024  # characters of a header that is parsed or covered; more is no signature but an attack
MAX_SIGNATURES = 8
MAX_COMPONENTS = 32
CLOCK_SKEW = timedelta(minutes=5)  # how far ahead the signer's clock may be, where `created` counts

_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "sha-256": lambda body: hashlib.sha256(body).digest(),
    "sha-512": lambda body: hashlib.sha512(body).digest(),
}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class SignatureRefused(ValueError):
    """Why a message is not taken as signed, in words for a person; never holds a key."""


@dataclass(frozen=True, slots=True)
class Message:
    """What may have been signed. `target_uri` is the address as the signer knows it: where a proxy stands in between,
    that is never what the Host header says."""

    method: str
    target_uri: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a signature: which components it must cover, and how old `created` may be (None: any age, and
    `created` may be missing). `expires` always counts where it is there."""

    must_cover: tuple[str, ...]
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Which signature fits, and which of the keys."""

    label: str
    key_index: int


def verify_hmac(message: Message, keys: Sequence[bytes], policy: Policy, now: datetime) -> Match:
    """The first signature that covers enough, is in time and fits one of the keys. An empty key never fits.

    Where the content digest must be covered, it is compared with the body before anything else. Of several signatures
    each must stand for itself. Raises SignatureRefused.
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
            return Match(label, _key_that_fits(base, signatures.get(label), keys))
        except SignatureRefused as refusal:
            reasons.append(f"Signature {label}: {refusal}")
    raise SignatureRefused(" ".join(reasons))


def check_content_digest(message: Message) -> None:
    """Compares Content-Digest with the body. Of the algorithms sha-256 and sha-512 at least one must be there, and
    whichever is there must be right; others are not looked at. Raises SignatureRefused."""
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
    """One member of Signature-Input. `raw` is its text from the first bracket on, byte for byte."""

    components: tuple[str, ...]
    has_parameters: bool  # of single components, such as `;sf` or `;req`
    parameters: Mapping[str, int | str | None]
    raw: str


def _base(message: Message, fields: Mapping[str, list[str]], signed: _Input, policy: Policy, now: datetime) -> bytes:
    """The signature base of RFC 9421, section 2.5, once everything but the HMAC is in order."""
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
    if policy.max_age is None:
        return
    if created is None:
        raise SignatureRefused("It does not say when it was created, so its age cannot be checked.")
    if created < (now - policy.max_age).timestamp():
        raise SignatureRefused("It was created too long ago.")
    if created > (now + CLOCK_SKEW).timestamp():
        raise SignatureRefused("It was created in the future.")


def _seconds(parameters: Mapping[str, int | str | None], name: str) -> int | None:
    if name not in parameters:
        return None
    value = parameters[name]
    if not isinstance(value, int):
        raise SignatureRefused(f"Its parameter {name} is no time.")
    return value


def _key_that_fits(base: bytes, signature: bytes | None, keys: Sequence[bytes]) -> int:
    if signature is None:
        raise SignatureRefused("The header Signature does not have it.")
    for index, key in enumerate(keys):
        if key and hmac.compare_digest(hmac.new(key, base, hashlib.sha256).digest(), signature):
            return index
    raise SignatureRefused("It fits none of the keys.")


# -- Components ------------------------------------------------------------------------------------------------------

_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PRINTABLE = re.compile(r"[\x20-\x7e\t]*")


def _component(message: Message, fields: Mapping[str, list[str]], name: str) -> str:
    if not name.startswith("@"):
        if not _FIELD_NAME.fullmatch(name):
            raise SignatureRefused("It covers a component whose name is none.")
        return _required(fields, name)
    if name == "@method":
        return _printable(message.method, name)
    derive = _DERIVED.get(name)
    if derive is None:
        raise SignatureRefused("It covers a derived component that is not supported.")
    try:
        parts = urlsplit(message.target_uri)
    except ValueError:
        raise SignatureRefused("The address that was called is no URL.") from None
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
    """A header's value; of one that was sent several times, all, as section 2.1 joins them."""
    values = fields.get(name)
    if values is None:
        raise SignatureRefused(f"There is no header {name.title()}.")
    if sum(len(value) + 2 for value in values) > MAX_FIELD:
        raise SignatureRefused(f"The header {name.title()} is longer than {MAX_FIELD} characters.")
    return ", ".join(_printable(value, name.title()).strip(" \t") for value in values)


def _printable(value: str, name: str) -> str:
    # A line break in a value could make one component look like two.
    if not _PRINTABLE.fullmatch(value):
        raise SignatureRefused(f"{name} holds a line break or something else than printable ASCII.")
    return value


# -- Structured fields (RFC 8941), as far as they are used here ------------------------------------------------------

_SPACES = re.compile(r" *")
_BETWEEN = re.compile(r"[ \t]*,[ \t]*")
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]{0,63}")
_STRING = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_OTHER_ITEM = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,3}|:[A-Za-z0-9+/=]*:|\?[01]|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")


class _Scanner:
    """Reads a text from its start to its end, piece by piece; whatever does not fit is refused."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at >= len(self.text)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        return self.take(pattern) or self.refuse()

    def skip(self, character: str) -> bool:
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def refuse(self) -> NoReturn:
        raise SignatureRefused(f"The header {self.name} is malformed at character {self.at + 1}.")

    def key(self, known: Mapping[str, object]) -> str:
        """The key of a dictionary's member. One that comes twice would mean different things to different readers."""
        if len(known) >= MAX_SIGNATURES:
            raise SignatureRefused(f"The header {self.name} has more than {MAX_SIGNATURES} members.")
        key = self.need(_KEY).group()
        if key in known:
            raise SignatureRefused(f"The header {self.name} has the member {key} twice.")
        if not self.skip("="):
            self.refuse()
        return key

    def next_member(self) -> bool:
        """Steps over the comma; false at the end."""
        if self.done:
            return False
        self.need(_BETWEEN)
        return not self.done or self.refuse()

    def parameters(self) -> dict[str, int | str | None]:
        """`;name=value` as often as it comes: integers and strings by value, anything else as None."""
        found: dict[str, int | str | None] = {}
        while self.skip(";"):
            self.need(_SPACES)
            name = self.need(_KEY).group()
            if name in found:
                raise SignatureRefused(f"The header {self.name} has the parameter {name} twice.")
            found[name] = self.item() if self.skip("=") else None
        return found

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
    """Signature-Input by label."""
    scanner = _Scanner(value, "Signature-Input")
    found: dict[str, _Input] = {}
    while not scanner.done:
        label = scanner.key(found)
        start = scanner.at
        components, has_parameters = _read_components(scanner)
        parameters = scanner.parameters()
        found[label] = _Input(components, has_parameters, parameters, scanner.text[start : scanner.at])
        if not scanner.next_member():
            break
    return found


def _read_components(scanner: _Scanner) -> tuple[tuple[str, ...], bool]:
    """The names between the brackets, and whether any has parameters."""
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
    """A dictionary of byte sequences, such as Signature and Content-Digest."""
    scanner = _Scanner(value, name)
    found: dict[str, bytes] = {}
    while not scanner.done:
        key = scanner.key(found)
        encoded = scanner.need(_BYTES).group(1)
        try:
            found[key] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise SignatureRefused(f"The header {name} has a member that is not base64.") from None
        scanner.parameters()
        if not scanner.next_member():
            break
    return found
