"""What is written differently and means the same."""

from __future__ import annotations

import pytest

from providers.contract.equivalence import canonical_url, equivalent, is_masked, read_enabled

URL = "https://hooks.example.test/hooks/t0ken"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, URL),
        (f"{URL}/", URL),
        ("HTTPS://Hooks.Example.TEST/hooks/t0ken", URL),
        ("https://hooks.example.test:443/hooks/t0ken/", URL),
        ("http://h:80/hooks/T", "http://h/hooks/T"),
        ("http://h:443/hooks/T", "http://h:443/hooks/T"),
        ("https://User@H/x/", "https://User@h/x/"),
        ("https://[::1]:443/hooks/a", "https://[::1]/hooks/a"),
        ("https://h/hooks/T?b=C", "https://h/hooks/T?b=C"),
        ("ftp://H/hooks/a/", "ftp://H/hooks/a/"),
        ("https://[", "https://["),
        ("text", "text"),
    ],
)
def test_urls_have_one_form(url: str, expected: str) -> None:
    assert canonical_url(url) == expected


COMPOSED, DECOMPOSED = "/Caf\u00e9/\u00c4", "/Cafe\u0301/A\u0308"


@pytest.mark.parametrize(
    ("left", "right", "ignore_case", "expected"),
    [
        (COMPOSED, DECOMPOSED, False, True),
        (["/Cafz/", COMPOSED], [DECOMPOSED, "/Cafz/"], False, True),
        ([COMPOSED, DECOMPOSED], [COMPOSED], False, False),
        (["/a", "/b"], ["/b", "/a"], False, False),
        ({"x": [COMPOSED]}, {"x": [DECOMPOSED]}, False, True),
        (COMPOSED, DECOMPOSED.upper(), False, False),
        (COMPOSED, DECOMPOSED.upper(), True, True),
        (["/A", "/b"], ["/B", "/a"], True, True),
        (["/A", "/a"], ["/a"], True, True),
        (["https://B.test/in/"], ["HTTPS://b.test:443/in"], False, True),
        (["https://b.test/in"], ["https://b.test/In"], False, False),
        ([1, 2], [2, 1], True, False),
        (None, "", False, False),
        (True, 1, False, True),
    ],
)
def test_values_are_equivalent_if_only_their_form_differs(
    left: object, right: object, ignore_case: bool, expected: bool
) -> None:
    assert equivalent(left, right, ignore_case=ignore_case) is expected
    assert equivalent(right, left, ignore_case=ignore_case) is expected


@pytest.mark.parametrize(
    "text",
    ["***", "xxxxxxxx", "XXXXXXXX1234", "Bearer xxxxxxxx", "[REDACTED]", "<hidden>", "(secret value)", "redacted",
     "\u2022\u2022\u2022\u2022", "abcd...", "ab\u2026", "----", "Bearer [Filtered]"],
)  # fmt: skip
def test_masks_are_recognized(text: str) -> None:
    assert is_masked(text)


@pytest.mark.parametrize("text", ["Bearer hk_5f1c-2d9e_AbC", "xxx", "secret-key", "a.b.c", "redacted-app", ""])
def test_secrets_are_not_taken_for_masks(text: str) -> None:
    assert not is_masked(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (" Active ", True), ("ENABLED", True), ("on", True), (False, False), ("Paused", False),
     ("disabled", False), ("error", False), ("mystery", None), ("", None), (None, None), (1, None)],
)  # fmt: skip
def test_status_words_are_read_in_any_case(value: object, expected: bool | None) -> None:
    assert read_enabled(value) is expected
