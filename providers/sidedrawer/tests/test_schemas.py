"""SideDrawer: account settings, credentials and subscription config."""

from __future__ import annotations

from typing import Any

import pytest

from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.schemas import validate
from providers.sidedrawer import provider
from providers.sidedrawer.resources import RESOURCES
from providers.sidedrawer.schemas import SideDrawerConfig, SideDrawerCredentials, SideDrawerSettings
from providers.sidedrawer.tests.samples import (
    DRAWER,
    RESOURCES_BY_KIND,
    TENANT,
    settings,
)


def field_errors(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


def test_the_origin_depends_on_the_environment() -> None:
    assert provider.api_origin(settings()) == "https://api.sidedrawer.com"
    assert provider.api_origin(settings(environment="sandbox")) == "https://api-sbx.sidedrawersbx.com"


def test_unconfirmed_settings_are_marked() -> None:
    properties = SideDrawerSettings.model_json_schema()["properties"]
    assert {name for name, schema in properties.items() if schema.get("unconfirmed")} == {
        "login_url",
        "collection_path",
        "item_path",
        "update_verb",
        "modification_type_case",
        "id_fields",
        "integrity_header",
        "accept_compact_json",
    }


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("tenant_id", "", "tenant_id"),
        ("tenant_id", "a/b", "tenant_id"),
        ("tenant_id", "..", "tenant_id"),
        ("environment", "staging", "environment"),
        ("collection_path", "api/v1/webhooks", "collection_path"),
        ("collection_path", "https://api.example.test/x", "collection_path"),
        ("collection_path", "//evil.example.test/x", "collection_path"),
        ("collection_path", "/x?y=1", "collection_path"),
        ("collection_path", "/x/../y", "collection_path"),
        ("collection_path", "/x/{id}", "collection_path"),
        ("collection_path", "/x y", "collection_path"),
        ("item_path", "/x", "item_path"),
        ("item_path", "/x/{id}/{id}", "item_path"),
        ("item_path", "/x/{id}/{other}", "item_path"),
        ("item_path", "/x/{id", "item_path"),
        ("update_verb", "DELETE", "update_verb"),
        ("id_fields", [], "id_fields"),
        ("id_fields", ["id", "a b"], "id_fields.1"),
        ("integrity_header", "X Hash", "integrity_header"),
        ("login_url", "https://x.example.test/login", "login_url"),
        ("base_url", "https://x.example.test/api", "base_url"),
    ],
)
def test_invalid_settings_are_field_errors(name: str, value: object, field: str) -> None:
    assert list(field_errors(SideDrawerSettings, {"tenant_id": TENANT, name: value})) == [field]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "access_token"),
        ({"access_token": ""}, "access_token"),
        ({"client_id": "a"}, "client_secret"),
        ({"client_secret": "s"}, "client_secret"),
        ({"client_id": "a", "client_secret": " "}, "client_secret"),
        ({"client_id": "a", "client_secret": "s", "access_token": "t"}, "access_token"),
        ({"access_token": "Bearer t"}, "access_token"),
        ({"access_token": "a\nb"}, "access_token"),
    ],
)
def test_credentials_are_exactly_one_of_two_kinds(given: dict[str, str], field: str) -> None:
    assert list(field_errors(SideDrawerCredentials, given)) == [field]


def test_empty_credentials_are_ignored() -> None:
    cached = validate(SideDrawerCredentials, {"access_token": None, "client_id": "a", "client_secret": "s"})
    assert set(cached.secret_values()) == {"a", "s"}
    cached = validate(SideDrawerCredentials, {"access_token": "t", "client_id": "", "client_secret": " "})
    assert cached.secret_values() == ("t",)


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ({"client_id": "a", "client_secret": "s"}, {"client_id": "a", "client_secret": "s"}),
        ({"access_token": "new"}, {"access_token": "new"}),
        ({}, {"access_token": "old"}),
        ({"client_secret": ""}, {"access_token": "old", "client_secret": ""}),
        ({"client_id": "a", "access_token": "new"}, {"access_token": "new", "client_id": "a"}),
    ],
)
def test_entering_one_kind_of_credentials_drops_the_other(given: dict[str, str], merged: dict[str, str]) -> None:
    assert provider.merge_credentials({"access_token": "old"}, given) == merged


def test_a_new_client_secret_keeps_the_client_id() -> None:
    stored = {"client_id": "a", "client_secret": "old"}
    assert provider.merge_credentials(stored, {"client_secret": "new"}) == {"client_id": "a", "client_secret": "new"}
    assert provider.merge_credentials(stored, {"access_token": "t"}) == {"access_token": "t"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modification_type": "created"}, "modification_type"),
        ({"modification_type": 1}, "modification_type"),
        ({"connection_type": "SMTP"}, "connection_type"),
        ({"connection_type": "SOCKET"}, "notification_messages"),
        ({"connection_type": "socket", "notification_messages": " "}, "notification_messages"),
        ({"lifetime_days": 0}, "lifetime_days"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_an_invalid_config_is_a_field_error(changes: dict[str, object], field: str) -> None:
    config = {"resource": RESOURCES_BY_KIND["record"], "modification_type": "any", **changes}
    assert list(field_errors(SideDrawerConfig, config)) == [field]


def test_the_schema_contains_the_resource_templates() -> None:
    schema = SideDrawerConfig.model_json_schema()["properties"]["resource"]
    assert [item["template"] for item in schema["templates"]] == [resource.template for resource in RESOURCES]
    assert sum(bool(item["doubt"]) for item in schema["templates"]) == 4


def test_the_config_warnings_cover_sockets_and_unclear_resources() -> None:
    def messages(**changes: object) -> tuple[str, ...]:
        config = {
            "resource": RESOURCES_BY_KIND["record"],
            "modification_type": "create",
            "notification_messages": "x",
            **changes,
        }
        return provider.warnings(validate(SideDrawerConfig, config))

    assert messages() == ()
    (socket,) = messages(connection_type="SOCKET")
    assert "not over HTTP" in socket
    (doubt,) = messages(resource=f"{DRAWER}/record/r1")
    assert "create may be refused" in doubt
    assert len(messages(resource="subscription/s/license", connection_type="SOCKET")) == 2


def test_the_lifetime_is_not_part_of_the_canonical_config() -> None:
    config = {"resource": RESOURCES_BY_KIND["record"], "modification_type": "any"}
    short, long = (validate(SideDrawerConfig, {**config, "lifetime_days": days}) for days in (1, 365))
    assert provider.canonical(short) == provider.canonical(long)


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        ("", "not one of SideDrawer's resources"),
        ("tenant/{tenantId}/sidedrawer", "replace {tenantId} by the ID"),
        ("tenant//sidedrawer", "empty"),
        ("tenant/../sidedrawer", "empty"),
        ("tenant/a b/sidedrawer", "spaces"),
        ("tenant/a?b/sidedrawer", "spaces"),
        ("tenant/a\x00b/sidedrawer", "control"),
        ("tenant/a", "not one of SideDrawer's resources"),
        ("tenant/a/sidedrawer/b", "tenant/{tenantId}/sidedrawer/{sidedrawerId}/record"),
        ("tenant/a/Sidedrawer", "not one of SideDrawer's resources"),
        ("subscription/a/license/b", "not one of SideDrawer's resources"),
    ],
)
def test_an_invalid_resource_is_a_field_error_with_advice(resource: str, text: str) -> None:
    messages = field_errors(SideDrawerConfig, {"resource": resource, "modification_type": "any"})
    assert list(messages) == ["resource"]
    assert text in messages["resource"]
