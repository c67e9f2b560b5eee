"""Text and JSON from outside become valid UTF-8 and strict JSON."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.sanitize import sanitize_json, sanitize_json_text
from providers.rest.problems import Problem
from providers.rest.renderers import FastJSONRenderer

ANY_TEXT = st.text(st.characters(categories=None) | st.sampled_from("\ud83d\ude00\\u\x00"), max_size=30)


@given(st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3))
def test_json_text_can_be_parsed_strictly_and_keeps_everything_else(value: dict[str, str]) -> None:
    repaired = sanitize_json_text(json.dumps(value))
    parsed = orjson.loads(repaired)
    # JSON itself joins two escaped halves that follow each other.
    joined = json.loads(json.dumps(value))
    halves = {ord(half): "\ufffd" for half in map(chr, range(0xD800, 0xE000))}
    assert parsed == {key.translate(halves): text.translate(halves) for key, text in joined.items()}


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'"\\ud83d"', r'"\\\\ud83d"', '"\\u0000"', "1e300", '"ud83d"'])
def test_valid_json_text_is_unchanged(text: str) -> None:
    assert sanitize_json_text(text) == text


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert sanitize_json({"a": [math.nan, math.inf, -math.inf, 1.5, 10**400]}) == {
        "a": [None, None, None, 1.5, 10**400]
    }


def test_an_api_response_is_strict_json_even_with_values_that_orjson_refuses() -> None:
    content = FastJSONRenderer().render({"half": "\ud83d", "not a number": math.nan, "huge": 10**30})
    assert json.loads(content, parse_constant=pytest.fail) == {"half": "\ufffd", "not a number": None, "huge": 10**30}


def test_an_error_response_is_strict_json(rf: RequestFactory) -> None:
    problem = Problem(400, "invalid", "\udc00", ({"field": "\ud83d", "code": "invalid", "message": "x"},))
    value = orjson.loads(problem.response(rf.get("/api/v1/events/")).content)
    assert (value["detail"], value["errors"][0]["field"]) == ("\ufffd", "\ufffd")
