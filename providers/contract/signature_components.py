"""The values of the components that an HTTP message signature covers (RFC 9421, section 2).

Values of structured fields (RFC 8941) are parsed and serialized by http-sfv.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from http_sfv.dictionary import Dictionary
from http_sfv.item import Item
from http_sfv.list import List

MAX_FIELD = 8 * 1024  # characters of a header that is parsed or covered; longer headers are refused
MAX_QUERY_PARAMETERS = 1000
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PRINTABLE = re.compile(r"[\x20-\x7e\t]*")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_UNSUPPORTED = frozenset({"req", "tr"})  # components of the request of a response, and of trailers
_MALFORMED = (ValueError, KeyError, IndexError, TypeError)  # what http-sfv raises for other texts


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
class Component:
    """A covered component: a header or a derived value (`@...`), with parameters such as `sf` or `key`."""

    name: str
    parameters: Mapping[str, int | str | None]  # None for a flag

    @property
    def identifier(self) -> str:
        """Its canonical serialization, as in the signature base."""
        escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in self._texts.items()}
        parameters = (f';{key}="{escaped[key]}"' if key in escaped else f";{key}" for key in self.parameters)
        return f'"{self.name}"' + "".join(parameters)

    @property
    def _texts(self) -> dict[str, str]:
        return {key: value for key, value in self.parameters.items() if isinstance(value, str)}

    def text(self, parameter: str) -> str:
        """Return a parameter that must be a string. Raises SignatureRefused."""
        value = self._texts.get(parameter)
        if value is None:
            raise SignatureRefused(f"It covers {self.name} without a usable parameter {parameter}.")
        return value


class Fields:
    """The headers of a message, and what is parsed from them once for all signatures."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._lines: dict[str, list[str]] = {}
        for name, value in message.headers:
            self._lines.setdefault(name.lower(), []).append(value)
        self._dictionaries: dict[str, Dictionary] = {}
        self._structured: dict[str, str] = {}

    def lines(self, name: str) -> list[str]:
        """Return the lines of a header, trimmed. Raises SignatureRefused for one that is missing or unusable."""
        values = self._lines.get(name)
        if values is None:
            raise SignatureRefused(f"There is no header {name.title()}.")
        if sum(len(value) + 2 for value in values) > MAX_FIELD:
            raise SignatureRefused(f"The header {name.title()} is longer than {MAX_FIELD} characters.")
        return [_printable(value, name.title()).strip(" \t") for value in values]

    def value(self, name: str) -> str:
        """Return a header's value; repeated headers are joined as in section 2.1."""
        return ", ".join(self.lines(name))

    def component(self, component: Component, *, spaced_anew: bool) -> str:
        """Return the value of a component. Raises SignatureRefused.

        `spaced_anew`: a comma is followed by one space. Servers may join repeated headers as `a,b`.
        """
        name, parameters = component.name, component.parameters
        if name.startswith("@"):
            return self._derived(component)
        if not _FIELD_NAME.fullmatch(name) or parameters.keys() & _UNSUPPORTED:
            raise SignatureRefused("It covers a component with an invalid name or unsupported parameters.")
        if unknown := parameters.keys() - {"sf", "bs", "key"}:
            raise SignatureRefused(f"It covers {name} with the unknown parameter {min(unknown)}.")
        if "bs" in parameters:
            if len(parameters) > 1:
                raise SignatureRefused(f"It covers {name} with bs and another parameter.")
            lines = self.lines(name)
            wrapped = _COMMA.split(", ".join(lines)) if spaced_anew else lines
            return ", ".join(f":{base64.b64encode(line.encode('ascii')).decode()}:" for line in wrapped)
        if "key" in parameters:
            return self._member(name, component.text("key"))
        if "sf" in parameters:
            return self._serialized(name)
        value = self.value(name)
        return _COMMA.sub(", ", value) if spaced_anew else value

    def _member(self, name: str, key: str) -> str:
        if name not in self._dictionaries:
            dictionary = Dictionary()
            try:
                dictionary.parse(self.value(name).encode("ascii"))
            except _MALFORMED:
                raise SignatureRefused(f"The header {name.title()} is not a dictionary.") from None
            self._dictionaries[name] = dictionary
        if key not in self._dictionaries[name]:
            raise SignatureRefused(f"The header {name.title()} has no member {key[:60]}.")
        return str(self._dictionaries[name][key])

    def _serialized(self, name: str) -> str:
        """Return the canonical serialization of a structured field, whose type a message does not tell."""
        if name not in self._structured:
            text = self.value(name).encode("ascii")
            for kind in (Dictionary, List, Item):
                parsed = kind()
                try:
                    parsed.parse(text)
                    self._structured[name] = str(parsed)
                    break
                except _MALFORMED:
                    continue
            else:
                raise SignatureRefused(f"The header {name.title()} is not a structured field.")
        return self._structured[name]

    def _derived(self, component: Component) -> str:
        name = component.name
        if name == "@query-param":
            if set(component.parameters) != {"name"}:
                raise SignatureRefused("It covers @query-param with parameters other than name.")
            return self._query_parameter(component.text("name"))
        if component.parameters:
            raise SignatureRefused(f"It covers {name[:60]} with parameters, which are not supported.")
        if name == "@method":
            return _printable(self._message.method, name)
        derive = _DERIVED.get(name)
        if derive is None:
            raise SignatureRefused("It covers a derived component that is not supported.")
        return _printable(derive(self._message.target_uri, self._url), name)

    @cached_property
    def _url(self) -> SplitResult:
        try:
            return urlsplit(self._message.target_uri)
        except ValueError:
            raise SignatureRefused("The target URI is not a URL.") from None

    @cached_property
    def _query(self) -> dict[str, list[str]]:
        try:
            pairs = parse_qsl(self._url.query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS)
        except ValueError:
            raise SignatureRefused(f"The query has more than {MAX_QUERY_PARAMETERS} parameters.") from None
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(_form_encoded(name), []).append(_form_encoded(value))
        return values

    def _query_parameter(self, name: str) -> str:
        values = self._query.get(name, [])
        if len(values) != 1:
            raise SignatureRefused(f"The query has the parameter {name[:60]} {len(values)} times instead of once.")
        return values[0]


def canonical_inner_list(text: str) -> str | None:
    """Return the canonical serialization of a member of Signature-Input; None if it has none."""
    dictionary = Dictionary()
    try:
        dictionary.parse(b"x=" + text.encode("ascii"))
        return str(dictionary["x"])
    except _MALFORMED:
        return None


def _form_encoded(text: str) -> str:
    """Encode as application/x-www-form-urlencoded does, but a space as %20 (section 2.2.8)."""
    return quote(text, safe="*", errors="replace").replace("~", "%7E")


def _printable(value: str, name: str) -> str:
    # A line break in a value could make one component look like two.
    if not _PRINTABLE.fullmatch(value):
        raise SignatureRefused(f"{name} contains a line break or something other than printable ASCII.")
    return value


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
