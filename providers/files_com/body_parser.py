"""Reads what a message carries, in every form that Files.com sends: query, form, JSON, XML, multipart form, file.

Anybody may have sent these bytes: nothing but UnreadableRequest comes out, in time and memory bounded by their size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from urllib.parse import parse_qsl
from xml.etree.ElementTree import ParseError

import multipart
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import MAX_JSON_DEPTH, InboundRequest, load_json
from providers.files_com.schemas import FILE_HEADER

MAX_FIELDS = 1000  # real messages have about ten
MAX_ELEMENTS = 10_000
MAX_ATTRIBUTES = 10_000  # in the whole of an XML document
MAX_NAMESPACE = 1000  # characters; each name in it is stored with it
MAX_FIELD_BYTES = 64 * 1024  # of one text field in a multipart form
FILE_HEADERS = ("content-type", "content-disposition")  # what is known of a file, beside X-Files-...
THEIR_HEADERS = "x-files-"
MESSAGES = (frozenset({"action", "interface", "at"}), frozenset({"accountname", "operation"}))  # no file has these

Fields = Mapping[str, object]

# A blank where the offset's plus was: in a query a raw plus means a blank.
_LOST_PLUS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?) (\d\d:?\d\d)", re.ASCII)


# Each attribute has this, in UTF-16 too; so may texts, which makes the count an upper bound.
_ATTRIBUTE = re.compile(rb"=[\s\0]*[\"']")


def read_fields(request: InboundRequest) -> tuple[Fields, bool]:
    """Everything that a message says, by name, and whether its body is a file. Query and body are taken together; the
    body wins. Raises UnreadableRequest."""
    query = read_query(request.query)
    body = read_body(request) if request.body.strip() else _read_nothing(request)
    if body is not None:
        return {**query, **body}, False
    return {**file_facts(request), **query}, True


def read_body(request: InboundRequest) -> Fields | None:
    """The body's fields, or None when it is a file. Raises UnreadableRequest for a body that does not keep what its
    Content-Type promises, unless a header says that bodies are files."""
    if not _says_file(request):
        return _read_as_promised(request)
    try:
        fields = _read_as_promised(request)
    except UnreadableRequest:
        return None
    # What has no file (a deletion) comes as a message all the same.
    return fields if fields and any(fields.keys() >= names for names in MESSAGES) else None


def _read_as_promised(request: InboundRequest) -> Fields | None:
    body, kind = request.body, content_type(request)
    start = body.lstrip(b" \t\r\n\xef\xbb\xbf")[:1]
    if kind.endswith(("/json", "+json")):
        return read_json(body)
    if kind.endswith(("/xml", "+xml")):
        return read_xml(body)
    if kind == "multipart/form-data":
        return read_multipart(body, header(request, "content-type"))
    if kind == "application/x-www-form-urlencoded" and start != b"{":
        return read_query(body.decode("latin-1"))
    return _guessed(body, start)


def read_query(text: str) -> Fields:
    """A query or a form. A name that comes several times has a list."""
    try:
        # Bytes that are no UTF-8 come from old FTP clients; in Latin-1 nothing of a name is lost.
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise UnreadableRequest(f"There are more than {MAX_FIELDS} parameters.") from None
    fields = _collect((_from_utf8(name), _from_utf8(value)) for name, value in pairs)
    if isinstance(fields.get("at"), str):
        fields["at"] = _LOST_PLUS.sub(r"\1+\2", str(fields["at"]))
    return fields


def read_json(body: bytes) -> Fields:
    """A JSON object."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise UnreadableRequest("The JSON is no object.")
    return value


def read_xml(body: bytes) -> Fields:
    """The children of any root element. No entities and no document type are allowed."""
    # The parser collects all attributes of an element before it tells of any.
    if next(islice(_ATTRIBUTE.finditer(body), MAX_ATTRIBUTES, None), None):
        raise UnreadableRequest(f"The body is not XML of a message: more than {MAX_ATTRIBUTES} attributes.")
    parser = XMLParser(target=_Tree(), forbid_dtd=True)
    try:
        parser.feed(body)
        value = parser.close()
    except DefusedXmlException as error:
        raise UnreadableRequest(
            f"The XML has what no message has, and what can do harm: {type(error).__name__}."
        ) from None
    except (ParseError, ValueError, LookupError) as error:
        raise UnreadableRequest(f"The body is not XML: {error}") from None
    return value if isinstance(value, dict) else {}


def read_multipart(body: bytes, header_value: str) -> Fields:
    """The text fields of a multipart form; of a file, its name. The file stays with the stored request."""
    found: list[tuple[str, str]] = []
    try:
        _, options = multipart.parse_options_header(header_value)
        with multipart.PushMultipartParser(
            options.get("boundary", ""), content_length=len(body), max_segment_count=MAX_FIELDS
        ) as parser:
            for segment, content in _segments(parser.parse(body)):
                found.append((segment.name or "", segment.filename or _from_utf8(content.decode("latin-1"))))
    except (multipart.MultipartError, ValueError) as error:
        raise UnreadableRequest(f"The body is not a multipart form: {error}") from None
    return _collect(found)


def file_facts(request: InboundRequest) -> dict[str, object]:
    """What the headers tell of a body that is a file. `X-Files-Path: a` becomes `path`."""
    facts: dict[str, object] = {}
    for name, value in request.headers:
        key = name.lower()
        if key in FILE_HEADERS:
            facts[key] = value
        elif key.startswith(THEIR_HEADERS):
            facts[key.removeprefix(THEIR_HEADERS)] = value
    return facts


def file_name(request: InboundRequest) -> str | None:
    """The name in Content-Disposition."""
    _, _, name = multipart.parse_content_disposition(header(request, "content-disposition"))
    return None if name is None else str(name)


def content_type(request: InboundRequest) -> str:
    """In lower case, without parameters."""
    return header(request, "content-type").partition(";")[0].strip().lower()


def header(request: InboundRequest, name: str) -> str:
    """A header's value, or an empty text."""
    return next((value for key, value in request.headers if key.lower() == name), "")


def _says_file(request: InboundRequest) -> bool:
    return header(request, FILE_HEADER.lower()).strip().lower() == "file"


def _read_nothing(request: InboundRequest) -> Fields | None:
    """An empty body is a file without content (None) where our mark or Files.com's headers say that there is one.
    What comes by GET has no body, whatever the mark says."""
    facts = file_facts(request)
    marked = _says_file(request) and request.method != "GET"
    return None if marked or facts.get("action") or facts.get("path") else {}


def _guessed(body: bytes, start: bytes) -> Fields | None:
    """Without a telling Content-Type: a message when it reads as one (ExaVault's came with any), else a file."""
    reader = {b"{": read_json, b"<": read_xml}.get(start)
    if reader is None:
        return None
    try:
        fields = reader(body)
    except UnreadableRequest:
        return None
    return fields if {"action", "operation", "event"} & fields.keys() else None


def _collect(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    for name, values in lists.items():
        fields[name] = values[0] if len(values) == 1 else values
    return fields


def _from_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _segments(events: Iterable[object]) -> Iterable[tuple[multipart.MultipartSegment, bytes]]:
    """Each part with its content, which is left out for files."""
    segment: multipart.MultipartSegment | None = None
    content = b""
    for event in events:
        if isinstance(event, multipart.MultipartSegment):
            segment, content = event, b""
        elif segment is not None and isinstance(event, bytes | bytearray):
            if segment.filename is None and segment.bytes_received > MAX_FIELD_BYTES:
                raise ValueError(f"a field is longer than {MAX_FIELD_BYTES} bytes")
            content += b"" if segment.filename else event
        elif segment is not None:
            yield segment, content


class _Tree:
    """Builds plain values from XML: an element is its text; with attributes or children, an object in which attributes
    are `@name` and text beside them is `#text`; equal names become a list."""

    def __init__(self) -> None:
        self._open: list[tuple[dict[str, object], list[str]]] = [({}, [])]
        self._elements = 0
        self._attributes = 0

    def start_ns(self, _prefix: str, uri: str) -> None:
        """A namespace is declared."""
        if len(uri) > MAX_NAMESPACE:
            raise ValueError(f"a namespace is longer than {MAX_NAMESPACE} characters")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS} elements")
        self._attributes += len(attributes)
        if self._attributes > MAX_ATTRIBUTES:
            raise ValueError(f"more than {MAX_ATTRIBUTES} attributes")
        if len(self._open) > MAX_JSON_DEPTH - 2:
            raise ValueError("nested too deeply")
        self._open.append(({f"@{name}": value for name, value in attributes.items()}, []))

    def data(self, text: str) -> None:
        """A piece of text."""
        self._open[-1][1].append(text)

    def end(self, tag: str) -> None:
        """An element ends."""
        fields, texts = self._open.pop()
        text = "".join(texts).strip()
        value: object = {**fields, "#text": text} if fields and text else fields or text
        siblings = self._open[-1][0]
        name = tag.rpartition("}")[2]  # without the namespace
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)  # type: ignore[attr-defined]
        else:
            siblings[name] = [siblings[name], value]

    def close(self) -> object:
        """The value of the root element."""
        return next(iter(self._open[0][0].values()), "")
