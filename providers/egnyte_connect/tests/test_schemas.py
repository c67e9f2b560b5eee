"""Settings, credentials and config of Egnyte Connect."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.schemas import validate
from providers.egnyte_connect import provider
from providers.egnyte_connect.event_types import ALL_EVENTS, EVENT_TYPES
from providers.egnyte_connect.schemas import EgnyteConfig, EgnyteCredentials, EgnyteSettings


def field_errors(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize(
    ("domain", "origin"),
    [
        ("acme", "https://acme.egnyte.com"),
        (" ACME ", "https://acme.egnyte.com"),
        ("acme.egnyte.com", "https://acme.egnyte.com"),
        ("a-1.egnytegov.com", "https://a-1.egnytegov.com"),
    ],
)
def test_domains_are_normalized(domain: str, origin: str) -> None:
    assert provider.api_origin(validate(EgnyteSettings, {"domain": domain})) == origin


@pytest.mark.parametrize(
    "domain",
    ["", "files.acme.com", "https://acme.egnyte.com", "acme.egnyte.com/app", "egnyte.com", "a.b.egnyte.com", "-a",
     "a b", "acme.egnyte.com.evil.test", "acme.", "acme:80", "ä", "a" * 64],
)  # fmt: skip
def test_other_hosts_are_field_errors(domain: str) -> None:
    assert list(field_errors(EgnyteSettings, {"domain": domain})) == ["domain"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth_header_style", "both"),
        ("auth_header_name", "X Hook"),
        ("auth_header_name", "X-Hook:"),
        ("auth_header_name", ""),
        ("act_as_email", "ann"),
        ("act_as_email", "ann@example.test\r\nX: y"),
        ("act_as_username", "a lee"),
        ("calls_per_second", 0),
        ("calls_per_day", -1),
        ("base_url", "https://acme.egnyte.com/pubapi"),
    ],
)
def test_wrong_settings_are_field_errors(name: str, value: object) -> None:
    assert list(field_errors(EgnyteSettings, {"domain": "acme", name: value})) == [name]


def test_only_one_act_as_user_is_allowed() -> None:
    both = {"domain": "acme", "act_as_email": "ann@example.test", "act_as_username": "alee"}
    assert "clear one of the two" in field_errors(EgnyteSettings, both)["act_as_username"]


@pytest.mark.parametrize("token", ["", "a b", "Bearer abc", "a\nb", "tökén"])
def test_an_invalid_token_is_refused_without_quoting_it(token: str) -> None:
    errors = field_errors(EgnyteCredentials, {"access_token": token})
    assert list(errors) == ["access_token"]
    assert not token or token not in errors["access_token"]


def test_unconfirmed_settings_are_marked() -> None:
    properties = EgnyteSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"auth_header_style", "auth_header_name", "only_header", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_a_setting() -> None:
    def limit(**values: object) -> tuple[float | None, int | None]:
        rate_limit = provider.rate_limit(validate(EgnyteSettings, {"domain": "acme", **values}))
        return rate_limit.per_second, rate_limit.per_day

    assert limit() == (2, 1000)
    assert limit(calls_per_second=0.5, calls_per_day=0) == (0.5, None)


def test_a_path_with_a_comma_is_a_field_error() -> None:
    errors = field_errors(EgnyteConfig, {"event_types": ["fs:*"], "paths": ["/a", "/b,c", "d", "/e\x00"]})
    assert set(errors) == {"paths.1", "paths.2", "paths.3"}
    assert "separates paths with commas" in errors["paths.1"]


def test_the_number_of_paths_is_limited() -> None:
    paths = [f"/Shared/{number}" for number in range(101)]
    assert len(validate(EgnyteConfig, {"event_types": ["fs:*"], "paths": paths[:100]}).paths) == 100
    assert field_errors(EgnyteConfig, {"event_types": ["fs:*"], "paths": paths}) == {"paths": "At most 100 allowed."}


def test_malformed_event_types_are_field_errors() -> None:
    known = [item.name for item in EVENT_TYPES]
    config = validate(EgnyteConfig, {"event_types": [*known, "fs:something_new", known[0], " fs:* "]})
    assert config.event_types == (*known, "fs:something_new")
    errors = field_errors(EgnyteConfig, {"event_types": ["fs:*", "fs", "", "FS:add", "fs:add file", "a:b:c"]})
    assert set(errors) == {f"event_types.{index}" for index in range(1, 6)}
    assert field_errors(EgnyteConfig, {}) == {"event_types": "This field is required."}


def test_paths_are_trimmed_and_unique() -> None:
    assert validate(EgnyteConfig, {"event_types": ["fs:*"], "paths": [" /a ", "/a", "/b"]}).paths == ("/a", "/b")


def test_equal_configs_are_canonically_equal() -> None:
    left = EgnyteConfig(event_types=("link:*", "fs:add_file", "link:create"), paths=("/b/", "/a"))
    right = EgnyteConfig(event_types=("fs:add_file", "link:*"), paths=("/a", "/b"))
    assert provider.canonical(left) == provider.canonical(right)


FS = tuple(item.name for item in EVENT_TYPES if item.name.startswith("fs:") and not item.wildcard)


@pytest.mark.parametrize(
    ("shown", "canonical"),
    [
        (FS, ["fs:*"]),
        ((*FS, "fs:new_type"), ["fs:*"]),
        (FS[1:], sorted(FS[1:])),
        (("comment:remove_comment", "comment:set_comment", "fs:add_file"), ["comment:*", "fs:add_file"]),
        (("workflow:*",), [item.name for item in EVENT_TYPES if item.group == "Workflows" and not item.wildcard]),
        (("user:*", "fs:*"), ["fs:*", "user:*"]),
        ((), []),
        (ALL_EVENTS, []),
        (tuple(item.name for item in EVENT_TYPES if not item.wildcard), []),
        (tuple(item.name for item in EVENT_TYPES), []),
    ],
)
def test_a_wildcard_and_its_types_are_canonically_equal(shown: tuple[str, ...], canonical: list[str]) -> None:
    assert provider.canonical(EgnyteConfig(event_types=shown))["event_types"] == sorted(canonical)


def test_all_documented_types_are_declared() -> None:
    single = {item.name for item in EVENT_TYPES if not item.wildcard}
    wildcards = {item.name for item in EVENT_TYPES if item.wildcard}
    assert len(single) == 36
    groups = ("comment", "fs", "group", "link", "meta", "permission", "user", "workflow")
    assert wildcards == {f"{group}:*" for group in groups}
    assert all(name in ALL_EVENTS or f"{name.partition(':')[0]}:*" in ALL_EVENTS for name in single)
