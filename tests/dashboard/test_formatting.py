"""Times, values, names and messages as text."""

from __future__ import annotations

import pytest

from providers.dashboard import formatting
from providers.templatetags.formats import actor_name, breakable, config_value, field_label, inline_code


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (-5, "0 s"), (119.9, "119 s"), (120, "2 min"), (3600, "1 h"), (3725, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert formatting.duration(seconds) == expected


def test_sentences_end_with_a_full_stop() -> None:
    text = formatting.sentences("The call failed. (access_denied)", "", "It is tried again.", " Why? ")
    assert text == "The call failed. (access_denied). It is tried again. Why?"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], "a, b"),
        ([], "\N{EN DASH}"),
        (None, "\N{EN DASH}"),
        (False, "no"),
        (0, "0"),
        ([{"type": "made", "filter": None}, {"type": "gone", "filter": "x"}], "made, type=gone filter=x"),
        ({"k": "v"}, "k=v"),
        ({}, "\N{EN DASH}"),
    ],
)
def test_config_values(value: object, expected: str) -> None:
    assert config_value(value) == expected


def test_names_of_fields_and_actors() -> None:
    assert [field_label(name) for name in ("config.event_types", "clientId", "base_url")] == [
        "Event types",
        "Client ID",
        "Base URL",
    ]
    assert [actor_name(name) for name in ("staff:ann", "api:importer", "command:confirm", "clock", "demo")] == [
        "ann",
        "importer (API)",
        "confirm (command)",
        "System",
        "demo",
    ]


def test_backticks_become_code_and_the_rest_is_escaped() -> None:
    assert inline_code("Give `a<b` as <i>it</i>.") == (
        'Give <code class="hk-mono">a&lt;b</code> as &lt;i&gt;it&lt;/i&gt;.'
    )


def test_long_names_may_break_after_separators() -> None:
    assert breakable("/a/<b>.txt") == "/<wbr>a/<wbr>&lt;b&gt;.txt"
    assert breakable("") == ""
