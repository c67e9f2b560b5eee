"""Untrusted JSON: encodings, limits, and batches of which a part is not JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract import strict_json
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import is_empty, load_batch, load_json

VALUE = {"text": "ä€\U0001f600", "n": [1, 2.5, None, True]}
TEXT = json.dumps(VALUE, ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("marks", [0, 1, 2])
def test_every_unicode_encoding_is_read(encoding: str, marks: int) -> None:
    assert load_json(("\ufeff" * marks + TEXT).encode(encoding)) == VALUE


def test_half_a_character_is_read_in_utf_16_as_in_utf_8() -> None:
    assert load_json('"cut \ud83d"'.encode("utf-16", "surrogatepass")) == load_json(rb'"cut \ud83d"') == "cut \ud83d"


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        (b"NaN", "NaN is not a JSON number."),
        (b"-Infinity", "-Infinity is not a JSON number."),
        (b"[1, -1e400]", "A number is too large."),
        (b"9" * 5000, "A number is too large."),
        (b'{"a": ' * 101 + b"1" + b"}" * 101, "It is nested too deeply."),
        (b"[" * 20_000 + b"]" * 20_000, "It is nested too deeply."),
        (b'{"\xff": 1}', "It is not UTF-8."),
        (b'"\xed\xa0\xbd"', "It is not UTF-8."),
    ],
)
def test_a_flaw_affects_only_its_element(flaw: bytes, reason: str) -> None:
    body = b'[{"brackets": "]}[{\\"[["}, %s, 3]' % flaw
    with pytest.raises(UnreadableRequest):
        load_json(body)
    value, flawed = load_batch(body)
    assert flawed
    assert isinstance(value, list)
    assert [strict_json.find_flaw(element) for element in value] == [None, reason, None]
    assert (value[0], value[2]) == ({"brackets": ']}[{"[['}, 3)


@pytest.mark.parametrize("body", [b"[1,]", b"[" * 200, b'["\xff]', b"\xff\xfe\x00", b"[" * 600_000 + b"]" * 600_000])
def test_a_body_that_is_not_json_as_a_whole_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        load_batch(body)


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\1e9N', max_size=60).map(str.encode))
def test_a_batch_is_read_as_strictly_as_json_or_has_flaws(body: bytes) -> None:
    try:
        value, flawed = load_batch(body)
    except UnreadableRequest:
        return
    if not flawed:
        assert value == load_json(body)
        assert strict_json.find_flaw(value) is None


@pytest.mark.parametrize(
    ("body", "empty"),
    [
        (b"", True),
        (b" \r\n", True),
        (b"\xef\xbb\xbf \xef\xbb\xbf", True),
        (b"\xff\xfe", True),
        (b"\xff", False),
        (b"\0", False),
    ],
)
def test_white_space_and_byte_order_marks_are_empty(body: bytes, empty: bool) -> None:
    assert is_empty(body) is empty
