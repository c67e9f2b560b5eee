"""Extract the fields of a message in every format of Files.com: query, form, JSON, XML, multipart form and file.

The bytes are untrusted: parsing raises nothing but UnreadableRequest, and its time and memory are bounded by the size.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from urllib.parse import parse_qsl, unquote
from xml.etree.ElementTree import ParseError

import multipart
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import MAX_JSON_DEPTH, InboundRequest, load_json
from providers.files_com.schemas import FILE_HEADER

MAX_FIELDS = 1000  # real messages have about ten
MAX_ELEMENTS = 10_000
MAX_ATTRIBUTES = 10_000  # in a whole XML document
MAX_NAMESPACE = 1000  # characters; it is repeated in each of its names
MAX_FIELD_BYTES = 64 * 1024  # of one text field in a multipart form
UTF_16_MARKS = (BOM_UTF16_LE, BOM_UTF16_BE)
FILE_HEADERS = ("content-type", "content-disposition")  # describe a file, in addition to X-Files-...
FILES_COM_PREFIX = "x-files-"
# A body with one of these sets of fields is a message, not a file.
MESSAGE_FIELDS = (frozenset({"action", "interface", "at"}), frozenset({"accountname", "operation"}))

Fields = Mapping[str, object]

# A space in place of the plus sign of a UTC offset: a raw plus in a query is decoded as a space.
_LOST_PLUS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?) (\d\d:?\d\d)", re.ASCII)

# RFC 8187: `filename*=UTF-8''%C3%9Cber.pdf`. Senders must use one of these charsets.
_EXTENDED_NAME = re.compile(
    r"""filename\*\s*=\s*"?(?P<charset>utf-8|iso-8859-1)'[^']*'(?P<text>[^\s;"]+)""", re.ASCII | re.IGNORECASE
)

# Matches every attribute, in UTF-16 too. Text may match as well, so the count is an upper bound.
_ATTRIBUTE = re.compile(rb"=[\s\0]*[\"']")


def read_fields(request: InboundRequest) -> tuple[Fields, bool]:
    """Return all fields of a message, and whether its body is a file.

    Query and body are merged, and the body takes precedence. Raises UnreadableRequest.
    """
    query = read_query(request.query)
    body = read_body(request) if request.body.strip() else _read_nothing(request)
    if body is not None:
        return {**query, **body}, False
    return {**file_headers(request), **query}, True


def read_body(request: InboundRequest) -> Fields | None:
    """Return the body's fields, or None if the body is a file.

    Raises UnreadableRequest if the body does not match its Content-Type, unless a header says that bodies are files.
    """
    if not _is_marked_as_file(request):
        return _read_by_content_type(request)
    try:
        fields = _read_by_content_type(request)
    except UnreadableRequest:
        return None
    # An event without a file, such as a deletion, is still sent as a message.
    return fields if fields and any(fields.keys() >= names for names in MESSAGE_FIELDS) else None


def _read_by_content_type(request: InboundRequest) -> Fields | None:
    body, kind = _without_byte_order_marks(request.body), content_type(request)
    start = body.lstrip(b" \t\r\n\0\xff\xfe")[:1]  # in UTF-16 too
    if kind.endswith(("/json", "+json")):
        return read_json(body)
    if kind.endswith(("/xml", "+xml")):
        return read_xml(body)
    if kind == "multipart/form-data":
        return read_multipart(body, header(request, "content-type"))
    if kind == "application/x-www-form-urlencoded" and start != b"{":
        return read_query(body.decode("utf-16", "replace") if body.startswith(UTF_16_MARKS) else body.decode("latin-1"))
    return _read_by_first_byte(body, start)


def _without_byte_order_marks(body: bytes) -> bytes:
    while body.startswith(BOM_UTF8):
        body = body.removeprefix(BOM_UTF8)
    return body


def read_query(text: str) -> Fields:
    """Parse a query or a form. The value of a repeated name is a list. Raises UnreadableRequest."""
    try:
        # Old FTP clients send bytes that are not UTF-8. Latin-1 keeps all of them.
        pairs = parse_qsl(text, keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise UnreadableRequest(f"There are more than {MAX_FIELDS} parameters.") from None
    fields = _collect((_from_utf8(name), _from_utf8(value)) for name, value in pairs)
    if isinstance(fields.get("at"), str):
        fields["at"] = _LOST_PLUS.sub(r"\1+\2", str(fields["at"]))
    return fields


def read_json(body: bytes) -> Fields:
    """Parse a JSON object. Raises UnreadableRequest."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise UnreadableRequest("The JSON is not an object.")
    return value


def read_xml(body: bytes) -> Fields:
    """Parse the children of any root element; entities and a document type are refused. Raises UnreadableRequest."""
    # The parser reads all attributes of an element before it reports the element.
    if next(islice(_ATTRIBUTE.finditer(body), MAX_ATTRIBUTES, None), None):
        raise UnreadableRequest(f"The XML has more than {MAX_ATTRIBUTES} attributes.")
    parser = XMLParser(target=_TreeBuilder(), forbid_dtd=True)
    try:
        parser.feed(body)
        value = parser.close()
    except DefusedXmlException as error:
        raise UnreadableRequest(f"The XML contains a forbidden construct: {type(error).__name__}.") from None
    except (ParseError, ValueError, LookupError) as error:
        raise UnreadableRequest(f"The body is not XML: {error}") from None
    return value if isinstance(value, dict) else {}


def read_multipart(body: bytes, header_value: str) -> Fields:
    """Parse the text fields of a multipart form; the value of a file is its name. Raises UnreadableRequest."""
    pairs: list[tuple[str, str]] = []
    try:
        _, options = multipart.parse_options_header(header_value)
        with multipart.PushMultipartParser(
            options.get("boundary", ""), content_length=len(body), max_segment_count=MAX_FIELDS
        ) as parser:
            for segment, content in _segments(parser.parse(body)):
                pairs.append((segment.name or "", _file_name_of(segment) or _from_utf8(content.decode("latin-1"))))
    except (multipart.MultipartError, ValueError) as error:
        raise UnreadableRequest(f"The body is not a multipart form: {error}") from None
    return _collect(pairs)


def file_headers(request: InboundRequest) -> dict[str, object]:
    """Return the headers that describe a file in the body; `X-Files-Path` is returned as `path`, percent-decoded."""
    fields: dict[str, object] = {}
    for name, value in request.headers:
        key = name.lower()
        if key in FILE_HEADERS:
            fields[key] = value
        elif key.startswith(FILES_COM_PREFIX):
            fields[key.removeprefix(FILES_COM_PREFIX)] = _percent_decoded(value)
    return fields


def file_name(request: InboundRequest) -> str | None:
    """Return the file name of Content-Disposition, or None."""
    return _disposition_file_name(header(request, "content-disposition"))


def _disposition_file_name(value: str) -> str | None:
    """Return the file name of a Content-Disposition. `filename*` takes precedence over `filename` (RFC 6266)."""
    if extended := _EXTENDED_NAME.search(value):
        with suppress(UnicodeError):  # not in the charset that it names
            return unquote(extended["text"], encoding=extended["charset"], errors="strict")
    _, _, name = multipart.parse_content_disposition(value)
    return None if name is None else str(name)


def _percent_decoded(text: str) -> str:
    """Return the decoded text, or the text itself if that would not be UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeError:
        return text


def content_type(request: InboundRequest) -> str:
    """Return the content type in lower case, without parameters."""
    return header(request, "content-type").partition(";")[0].strip().lower()


def header(request: InboundRequest, name: str) -> str:
    """Return the value of a header (its name in lower case), or an empty string."""
    return next((value for key, value in request.headers if key.lower() == name), "")


def _is_marked_as_file(request: InboundRequest) -> bool:
    return header(request, FILE_HEADER.lower()).strip().lower() == "file"


def _read_nothing(request: InboundRequest) -> Fields | None:
    """Return None (an empty file) if our header or Files.com's headers announce a file, else no fields.

    A GET has no body, even with our header.
    """
    headers = file_headers(request)
    marked = _is_marked_as_file(request) and request.method != "GET"
    return None if marked or headers.get("action") or headers.get("path") else {}


def _read_by_first_byte(body: bytes, start: bytes) -> Fields | None:
    """Parse a body whose Content-Type does not reveal its format; None if it is not a message and thus a file.

    ExaVault's messages came with any Content-Type.
    """
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


def _file_name_of(segment: multipart.MultipartSegment) -> str | None:
    return _disposition_file_name(segment.header("Content-Disposition", ""))


def _segments(events: Iterable[object]) -> Iterable[tuple[multipart.MultipartSegment, bytes]]:
    """Yield each part with its content; the content of files is dropped."""
    segment: multipart.MultipartSegment | None = None
    content = b""
    for event in events:
        if isinstance(event, multipart.MultipartSegment):
            segment, content = event, b""
        elif segment is not None and isinstance(event, bytes | bytearray):
            is_file = _file_name_of(segment) is not None
            if not is_file and segment.bytes_received > MAX_FIELD_BYTES:
                raise ValueError(f"a field is longer than {MAX_FIELD_BYTES} bytes")
            content += b"" if is_file else event
        elif segment is not None:
            yield segment, content


class _TreeBuilder:
    """Builds plain values from XML.

    An element becomes its text or, with attributes or children, an object in which attributes are `@name` and text is
    `#text`. Elements with the same name become a list.
    """

    def __init__(self) -> None:
        self._open: list[tuple[dict[str, object], list[str]]] = [({}, [])]
        self._elements = 0
        self._attributes = 0

    def start_ns(self, _prefix: str, uri: str) -> None:
        """Handle the declaration of a namespace."""
        if len(uri) > MAX_NAMESPACE:
            raise ValueError(f"a namespace is longer than {MAX_NAMESPACE} characters")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Handle the start of an element."""
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
        """Handle a piece of text."""
        self._open[-1][1].append(text)

    def end(self, tag: str) -> None:
        """Handle the end of an element."""
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
        """Return the value of the root element."""
        return next(iter(self._open[0][0].values()), "")
