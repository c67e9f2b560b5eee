"""Settings, credentials and config of Egnyte MSP."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.schemas import validate
from providers.egnyte_msp import provider
from providers.egnyte_msp.event_types import EVENT_TYPES
from providers.egnyte_msp.schemas import MspConfig, MspCredentials, MspSettings
from providers.egnyte_msp.simulator import EVENT_NAMES
from providers.egnyte_msp.tests.samples import CANONICAL


def field_errors(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize("domain", ["acme", " ACME ", "acme.egnyte.com"])
def test_domains_are_normalized(domain: str) -> None:
    assert provider.api_origin(validate(MspSettings, {"domain": domain})) == "https://acme.egnyte.com"


@pytest.mark.parametrize(
    "domain",
    ["", "files.acme.com", "https://acme.egnyte.com", "acme.egnyte.com/app", "egnyte.com", "a.b.egnyte.com", "-a",
     "a b", "acme.egnyte.com.evil.test", "acme.", "acme:80", "ä", "a" * 64],
)  # fmt: skip
def test_other_hosts_are_field_errors(domain: str) -> None:
    assert list(field_errors(MspSettings, {"domain": domain})) == ["domain"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_types_field", "eventtypes"),
        ("auth_header_name", "X Hook"),
        ("auth_header_name", "X-Hook:"),
        ("auth_header_name", ""),
        ("auth_header_name", "content-Type"),
        ("auth_header_name", "Host"),
        ("calls_per_second", 0),
        ("calls_per_day", -1),
        ("base_url", "https://acme.egnyte.com/pubapi"),
    ],
)
def test_wrong_settings_are_field_errors(name: str, value: object) -> None:
    assert list(field_errors(MspSettings, {"domain": "acme", name: value})) == [name]


@pytest.mark.parametrize("token", ["", "a b", "Bearer abc", "a\nb", "tökén"])
def test_an_invalid_token_is_refused_without_quoting_it(token: str) -> None:
    errors = field_errors(MspCredentials, {"access_token": token})
    assert list(errors) == ["access_token"]
    assert not token or token not in errors["access_token"]


def test_unconfirmed_settings_are_marked() -> None:
    properties = MspSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"event_types_field", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_a_setting() -> None:
    def limit(**values: object) -> tuple[float | None, int | None]:
        rate_limit = provider.rate_limit(validate(MspSettings, {"domain": "acme", **values}))
        return rate_limit.per_second, rate_limit.per_day

    assert limit() == (2, 1000)
    assert limit(calls_per_second=0.5, calls_per_day=0) == (0.5, None)


def test_malformed_event_types_are_field_errors() -> None:
    known = [item.name for item in EVENT_TYPES]
    config = validate(MspConfig, {"event_types": [*known, "RESELLER_TIER_2", known[0], " USER_ADDED "]})
    assert config.event_types == (*known, "RESELLER_TIER_2")
    errors = field_errors(MspConfig, {"event_types": ["USER_ADDED", "user_added", "", "USER ADDED", "USER:*", "_A"]})
    assert set(errors) == {f"event_types.{index}" for index in range(1, 6)}
    assert field_errors(MspConfig, {"event_types": []}) == {"event_types": "At least 1 required."}


def test_equal_configs_are_canonically_equal() -> None:
    left = MspConfig(event_types=("USER_ADDED", "RESELLER_MRR_CHANGED"))
    right = MspConfig(event_types=("RESELLER_MRR_CHANGED", "USER_ADDED"))
    assert provider.canonical(left) == provider.canonical(right) == CANONICAL


def test_all_documented_types_are_declared_and_simulated() -> None:
    assert len(EVENT_TYPES) == 20
    assert [item.name for item in EVENT_TYPES] == list(EVENT_NAMES)
    assert Counter(item.group for item in EVENT_TYPES) == {
        "NFR domains": 1,
        "Trials": 5,
        "Account": 6,
        "Two-factor authentication": 4,
        "Invoices": 4,
    }
