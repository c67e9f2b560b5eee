"""Verify HTTP Message Signatures (RFC 9421) with HMAC-SHA256, and Content-Digest (RFC 9530).

Messages may be hostile: anything unusual is refused with a reason, in bounded time. A proxy or a server may space a
list anew on the way, so each signature is compared over the texts as they came and in their canonical form. The caller
decides which components must be covered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from providers.contract.signature_components import (
    Component,
    Fields,
    Message,
    SignatureRefused,
    canonical_inner_list,
)

ALGORITHM = "hmac-sha256"
MAX_SIGNATURES = 8
MAX_COMPONENTS = 32
CLOCK_SKEW = timedelta(minutes=5)  # how far ahead the signer's clock may be

_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "sha-256": lambda body: hashlib.sha256(body).digest(),
    "sha-512": lambda body: hashlib.sha512(body).digest(),
}


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
    fields = Fields(message)
    if "content-digest" in policy.must_cover:
        _check_content_digest(fields, message.body)
    inputs = _read_inputs(fields.value("signature-input"))
    signatures = dict(_read_bytes(fields.value("signature"), "Signature"))
    if not inputs:
        raise SignatureRefused("The header Signature-Input is empty.")
    reasons: list[str] = []
    for label, signed in inputs.items():
        try:
            bases = _bases(fields, signed, policy, now)
            return Match(label, _matching_key(bases, signatures.get(label), keys))
        except SignatureRefused as refusal:
            reasons.append(f"Signature {label}: {refusal}")
    raise SignatureRefused(" ".join(reasons))


def check_content_digest(message: Message) -> None:
    """Compare Content-Digest with the body. Raises SignatureRefused.

    At least one of sha-256 and sha-512 must be present, and each that is present must match; others are ignored.
    """
    _check_content_digest(Fields(message), message.body)


def _check_content_digest(fields: Fields, body: bytes) -> None:
    known = [item for item in _read_bytes(fields.value("content-digest"), "Content-Digest") if item[0] in _DIGESTS]
    if not known:
        raise SignatureRefused(f"Content-Digest has none of {', '.join(_DIGESTS)}.")
    for name, digest in known:
        if not hmac.compare_digest(_DIGESTS[name](body), digest):
            raise SignatureRefused(f"The {name} in Content-Digest is not that of the body.")


# -- One signature ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Input:
    """One member of Signature-Input. `raw` is its unmodified text from the first bracket on."""

    components: tuple[Component, ...]
    parameters: Mapping[str, int | str | None]
    raw: str


def _bases(fields: Fields, signed: _Input, policy: Policy, now: datetime) -> list[bytes]:
    """Return the possible signature bases of RFC 9421, section 2.5, after all checks but the HMAC.

    Lists of headers and the signature parameters are taken as they came, and as they are if spaced canonically.
    """
    if len(signed.components) > MAX_COMPONENTS:
        raise SignatureRefused(f"It covers more than {MAX_COMPONENTS} components.")
    identifiers = [component.identifier for component in signed.components]
    if len(set(identifiers)) != len(identifiers):
        raise SignatureRefused("It covers a component twice.")
    missing = [name for name in policy.must_cover if not any(_covers(item, name) for item in signed.components)]
    if missing:
        raise SignatureRefused(f"It does not cover {', '.join(missing)}.")
    _check_parameters(signed.parameters, policy, now)
    parameter_forms = (signed.raw, canonical_inner_list(signed.raw))
    bases: dict[str, None] = {}
    for spaced_anew in (False, True):
        values = [fields.component(component, spaced_anew=spaced_anew) for component in signed.components]
        lines = [f"{identifier}: {value}" for identifier, value in zip(identifiers, values, strict=True)]
        for parameters in parameter_forms:
            if parameters is not None:
                bases["\n".join([*lines, f'"@signature-params": {parameters}'])] = None
    return [base.encode("ascii") for base in bases]


def _covers(component: Component, name: str) -> bool:
    """Return whether a component covers a name whole: also as `sf`, `bs`, or the member of a digest that is checked."""
    if component.name != name or component.parameters.keys() - {"sf", "bs", "key"}:
        return False
    return "key" not in component.parameters or (name == "content-digest" and component.parameters["key"] in _DIGESTS)


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


def _matching_key(bases: Sequence[bytes], signature: bytes | None, keys: Sequence[bytes]) -> int:
    if signature is None:
        raise SignatureRefused("The header Signature does not have it.")
    for index, key in enumerate(keys):
        for base in bases if key else ():
            if hmac.compare_digest(hmac.new(key, base, hashlib.sha256).digest(), signature):
                return index
    raise SignatureRefused("It matches none of the keys.")


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

    def key(self, known: Sized) -> str:
        """Read the key of a dictionary's member, after these ones."""
        if len(known) >= MAX_SIGNATURES:
            raise SignatureRefused(f"The header {self.name} has more than {MAX_SIGNATURES} members.")
        key = self.need(_KEY).group()
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
        components = _read_components(scanner)
        parameters = scanner.parameters()
        read = _Input(components, parameters, scanner.text[start : scanner.position])
        if inputs.setdefault(label, read).raw != read.raw:
            raise SignatureRefused(f"The header Signature-Input has the member {label} twice.")
        if not scanner.next_member():
            break
    return inputs


def _read_components(scanner: _Scanner) -> tuple[Component, ...]:
    """Return the components between the brackets."""
    if not scanner.skip("("):
        scanner.refuse()
    components: list[Component] = []
    while True:
        gap = scanner.need(_SPACES).group()
        if scanner.skip(")"):
            return tuple(components)
        if components and not gap:
            scanner.refuse()
        components.append(Component(_unescaped(scanner.need(_STRING)), scanner.parameters()))


def _read_bytes(value: str, name: str) -> list[tuple[str, bytes]]:
    """Return the members of a dictionary of byte sequences, such as Signature and Content-Digest.

    Padding may be missing. A member may be repeated with the same value, because a header line may be repeated; in
    Content-Digest also with another value, because each is compared with the body.
    """
    scanner = _Scanner(value, name)
    members: list[tuple[str, bytes]] = []
    while not scanner.done:
        key = scanner.key(members)
        encoded = scanner.need(_BYTES).group(1).rstrip("=")
        try:
            decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            raise SignatureRefused(f"The header {name} has a member that is not base64.") from None
        if name != "Content-Digest" and dict(members).get(key, decoded) != decoded:
            raise SignatureRefused(f"The header {name} has the member {key} twice.")
        members.append((key, decoded))
        scanner.parameters()
        if not scanner.next_member():
            break
    return members
