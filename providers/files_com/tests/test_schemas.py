"""Files.com: account settings, credentials and subscription config."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.schemas import FilesComConfig, FilesComCredentials, FilesComSettings


def field_errors(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {item.field: item.message for item in caught.value.errors}


@pytest.mark.parametrize(
    ("values", "origin"),
    [
        ({"subdomain": " Acme "}, "https://acme.files.com"),
        ({"subdomain": "acme.files.com"}, "https://acme.files.com"),
        ({"subdomain": "acme", "api_host": "app"}, "https://app.files.com"),
        ({"subdomain": "acme", "api_host": "app", "base_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
    ],
)
def test_the_origin_follows_the_settings(values: dict[str, object], origin: str) -> None:
    assert provider.api_origin(validate(FilesComSettings, values)) == origin


@pytest.mark.parametrize("subdomain", ["", "files.com", "files.acme.com", "https://acme.files.com", "a b", "-a", "ä"])
def test_invalid_subdomains_are_field_errors(subdomain: str) -> None:
    assert list(field_errors(FilesComSettings, {"subdomain": subdomain})) == ["subdomain"]


def test_unconfirmed_settings_are_marked() -> None:
    properties = FilesComSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"value_format", "test_call", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_read_from_the_settings() -> None:
    limit = provider.rate_limit(
        validate(FilesComSettings, {"subdomain": "a", "calls_per_second": 2, "calls_per_day": 9})
    )
    assert (limit.per_second, limit.per_day) == (2, 9)
    assert provider.rate_limit(validate(FilesComSettings, {"subdomain": "a"})).per_day is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": ""}, "path"),
        ({"path": "a/../b"}, "path"),
        ({"path": "a /b"}, "path"),
        ({"path": "a\nb"}, "path"),
        ({"triggers": ["create", "Up date"]}, "triggers.1"),
        ({"method": "PUT"}, "method"),
        ({"encoding": "CSV"}, "encoding"),
        ({"encoding": "EV1"}, "encoding"),
        ({"method": "GET", "encoding": "EV2"}, "encoding"),
        ({"filenames": ["a/b"]}, "filenames.0"),
        ({"exclude_filenames": [""]}, "exclude_filenames.0"),
        ({"redundant_urls": ["ftp://x.test/"]}, "redundant_urls.0"),
        ({"redundant_urls": ["https://x.test/", "https://x.test/,https://y.test/"]}, "redundant_urls.1"),
        ({"redundant_urls": ["https://x.test:port/"]}, "redundant_urls.0"),
        ({"headers": {"authorization": "x"}}, "headers"),
        ({"headers": {"X-Hookkeeper-Body": "x"}}, "headers"),
        ({"headers": {"X A": "x"}}, "headers"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"body": {"a": 1}}, "body.a"),
        ({"file_form_field": 'a"b'}, "file_form_field"),
        ({"file_form_field": "file", "file_as_body": True}, "file_as_body"),
    ],
)  # fmt: skip
def test_an_invalid_config_is_a_field_error(changes: dict[str, object], field: str) -> None:
    assert list(field_errors(FilesComConfig, {"path": "a", **changes})) == [field]


@pytest.mark.parametrize("key", ["", "a b", "a\nb", "tökén"])
def test_an_invalid_api_key_is_a_field_error_that_does_not_quote_it(key: str) -> None:
    received = field_errors(FilesComCredentials, {"api_key": key})
    assert list(received) == ["api_key"]
    assert not key or key not in received["api_key"]


@pytest.mark.parametrize(
    ("entered", "normalized"),
    [("/a//b/", "a/b"), ("/", "/"), ("a", "a"), ("Ünïcode/b c", "Ünïcode/b c")],
)
def test_paths_are_normalized(entered: str, normalized: str) -> None:
    assert validate(FilesComConfig, {"path": entered}).path == normalized


def test_equivalent_configs_have_the_same_canonical_form() -> None:
    left = FilesComConfig(
        path="In/Box", triggers=("b", "a"), encoding="RAW", headers={"X-A": "1"}, filenames=("b", "a")
    )
    right = FilesComConfig(path="in/box", triggers=("a", "b"), encoding="", headers={"x-a": "1"}, filenames=("a", "b"))
    assert provider.canonical(left) == provider.canonical(right)
    # The order of redundant URLs matters, because the first one is tried first.
    one, two = ("https://a.test/", "https://b.test/")
    assert provider.canonical(FilesComConfig(path="a", redundant_urls=(one, two))) != provider.canonical(
        FilesComConfig(path="a", redundant_urls=(two, one))
    )


def test_all_documented_actions_are_declared() -> None:
    names = {item.name for item in EVENT_TYPES}
    assert {"create", "read", "update", "destroy", "move", "copy"} <= names
    assert len(names) == 15
