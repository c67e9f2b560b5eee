"""Entrust: account settings, credentials and subscription config."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.schemas import validate
from providers.entrust import provider
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.schemas import EntrustConfig, EntrustCredentials, EntrustSettings
from providers.entrust.tests.samples import (
    HOST,
)


def field_errors(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize("hostname", [HOST, f" {HOST.upper()} ", "id.example.org", "a-1.b2.test"])
def test_valid_host_names_are_accepted(hostname: str) -> None:
    checked = validate(EntrustSettings, {"hostname": hostname})
    assert provider.api_origin(checked) == f"https://{hostname.strip().lower()}"


@pytest.mark.parametrize(
    "hostname",
    ["", "acme", f"https://{HOST}", f"{HOST}/api", f"{HOST}:443", "a b.test", "-a.test", "ä.test", "a..test",
     "a@b.test", ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_invalid_host_names_are_field_errors(hostname: str) -> None:
    assert list(field_errors(EntrustSettings, {"hostname": hostname})) == ["hostname"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("key_form", "hex"), ("signature_max_age", -1), ("signature_max_age", 10**9), ("send_name", "perhaps")],
)
def test_invalid_settings_are_field_errors(name: str, value: object) -> None:
    assert list(field_errors(EntrustSettings, {"hostname": HOST, name: value})) == [name]


def test_unconfirmed_settings_are_marked() -> None:
    properties = EntrustSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"send_name", "signature_max_age", "accept_body_signature", "key_form"}


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "gehéim"])
def test_invalid_credentials_are_field_errors_that_do_not_quote_them(value: str) -> None:
    messages = field_errors(EntrustCredentials, {"application_id": value, "shared_secret": value})
    assert set(messages) == {"application_id", "shared_secret"}
    assert not value or value not in " ".join(messages.values())


def test_any_event_type_name_is_accepted_and_an_invalid_one_is_a_field_error() -> None:
    names = [*(item.name for item in EVENT_TYPES), "user.create", "Something_new"]
    config = validate(EntrustConfig, {"events": [{"type": name} for name in names]})
    assert [item.type for item in config.events] == names
    bad = [{"type": "user.created"}, {"type": ""}, {"type": "a b"}, {"type": "x" * 101}, {}, {"type": "a", "id": "e"}]
    messages = field_errors(EntrustConfig, {"events": bad})
    assert set(messages) == {"events.1.type", "events.2.type", "events.3.type", "events.4.type", "events.5.id"}
    assert field_errors(EntrustConfig, {}) == {"events": "This field is required."}
    assert set(field_errors(EntrustConfig, {"events": [{"type": "a"}, "user.created"]})) == {"events.1"}


@pytest.mark.parametrize(
    "events", [[], [{"type": item.name} for item in EVENT_TYPES], [{"type": item.name} for item in EVENT_TYPES[::-1]]]
)
def test_an_empty_list_means_all_events(events: list[dict[str, str]]) -> None:
    assert provider.canonical(validate(EntrustConfig, {"events": events}))["events"] == []
    fewer = [{"type": item.name} for item in EVENT_TYPES[1:]]
    filtered = [*fewer, {"type": EVENT_TYPES[0].name, "filter": "[1]"}]
    for some in (fewer, filtered):
        assert provider.canonical(validate(EntrustConfig, {"events": some}))["events"] != []


def test_filters_must_be_json() -> None:
    good = validate(EntrustConfig, {"events": [{"type": "a", "filter": text} for text in ("", " ", '[{"a": 1}]')]})
    assert [item.filter for item in good.events] == [None, None, '[{"a": 1}]']
    bad = [{"type": "a", "filter": text} for text in ("{", "[" * 100_000, "x" * 4001, {"a": 1})]
    messages = field_errors(EntrustConfig, {"events": [*bad, {"type": "a"}]})
    assert set(messages) == {f"events.{index}.filter" for index in range(4)}


@pytest.mark.parametrize("days", [-1, 1001, 1.5, "soon"])
def test_the_expiry_must_be_a_number_of_days(days: object) -> None:
    assert list(field_errors(EntrustConfig, {"events": [{"type": "a"}], "expiry_days": days})) == ["expiry_days"]
    assert validate(EntrustConfig, {"events": [{"type": "a"}]}).expiry_days == 0


def test_equivalent_configs_have_the_same_canonical_form() -> None:
    left = {"events": [{"type": "b", "filter": '{"y":1, "x":2}'}, {"type": "a"}, {"type": "a"}], "expiry_days": 5}
    right = {"events": [{"type": "a", "filter": ""}, {"type": "b", "filter": '{"x":2,"y":1}'}], "expiry_days": 5}
    assert provider.canonical(validate(EntrustConfig, left)) == provider.canonical(validate(EntrustConfig, right))


def test_all_documented_event_types_are_declared() -> None:
    assert len(EVENT_TYPES) == 25
    assert len({item.group for item in EVENT_TYPES}) == 10
