"""Shared secrets in request headers, also in lines that a server joined."""

from __future__ import annotations

import pytest

from providers.contract.signatures import HeaderMatch, find_shared_secrets, missing_secret_reason

SECRET = "Bearer hk_5ecret"


@pytest.mark.parametrize(
    "value",
    [SECRET, f" {SECRET} ", f"{SECRET},{SECRET}", f"{SECRET}, {SECRET}", f"Bearer other ,{SECRET}", f"{SECRET},"],
)
def test_a_secret_is_found_alone_and_among_joined_lines(value: str) -> None:
    found = find_shared_secrets([("Host", "h"), ("Authorization", value)], ["new", SECRET, ""])
    assert found == (HeaderMatch("Authorization", 1),)


@pytest.mark.parametrize("value", ["", ",", f"{SECRET}x,y", f"x{SECRET}", "a," * 8 + SECRET, SECRET.replace(" ", ",")])
def test_other_values_are_not_the_secret(value: str) -> None:
    assert find_shared_secrets([("Authorization", value)], [SECRET, ""]) == ()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("authorization", "Bearer old")], "another value, perhaps an older secret"),
        ([("authorization", "Bearer old,Bearer older")], "several values, none of which is a secret"),
        ([("Authorization", "a"), ("authorization", "b")], "several values, none of which is a secret"),
        ([("X", "a")], "Authorization is not among them"),
    ],
)
def test_the_reason_tells_one_value_from_several(headers: list[tuple[str, str]], expected: str) -> None:
    assert expected in missing_secret_reason(headers, [SECRET], "Authorization")
