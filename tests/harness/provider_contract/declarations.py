"""Tests of what a plug-in declares: schemas, capabilities and event types."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from providers.contract.base import Provider
from providers.contract.capabilities import Action, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import (
    InvalidInput,
)
from providers.contract.registry import get_provider
from providers.contract.schemas import Origin, validate
from tests.harness.provider_contract.base import ContractBase

ORIGIN = Origin | None  # the type of settings that hold an address


class DeclarationTests(ContractBase):
    """Schemas, capabilities and event types."""

    def test_the_registry_finds_the_plug_in(self) -> None:
        assert get_provider(self.provider.slug) is self.provider
        assert type(self.provider).__module__ == f"providers.{self.provider.slug.replace('-', '_')}.provider"
        assert self.provider.name.strip()

    def test_every_field_has_a_title_a_description_and_examples(self) -> None:
        for model in self._models():
            for name, info in model.model_fields.items():
                where = f"{model.__name__}.{name}"
                assert info.title, where
                assert info.description, where
                assert info.examples, where

    def test_examples_are_valid(self) -> None:
        required = (self.settings, self.credentials, self.config)
        for model, values in zip(self._models(), required, strict=True):
            for name, info in model.model_fields.items():
                for example in info.examples or ():
                    assert validate(model, {**values, name: example}), f"{model.__name__}.{name}"

    def test_schemas_are_json_schemas(self) -> None:
        for model in self._models():
            schema = json.loads(json.dumps(model.model_json_schema()))
            assert schema["additionalProperties"] is False
            assert set(schema["properties"]) == set(model.model_fields)

    def test_unknown_fields_are_refused_by_name(self) -> None:
        for model, values in zip(self._models(), (self.settings, self.credentials, self.config), strict=True):
            with pytest.raises(InvalidInput) as caught:
                validate(model, {**values, "no_such_field": 1})
            assert [error.field for error in caught.value.errors] == ["no_such_field"]

    def test_missing_required_fields_are_named(self) -> None:
        for model in self._models():
            required = {name for name, info in model.model_fields.items() if info.is_required()}
            if required:
                with pytest.raises(InvalidInput) as caught:
                    validate(model, {})
                assert {error.field for error in caught.value.errors if error.code == "required"} == required

    def test_credentials_are_not_in_their_repr(self) -> None:
        credentials = validate(self.provider.credentials_model, self.credentials)
        assert set(credentials.secret_values()) == {str(value) for value in self.credentials.values()}
        for secret in credentials.secret_values():
            assert secret not in f"{credentials!r} {credentials}"

    def test_the_base_url_replaces_the_origin(self) -> None:
        base_url = "http://127.0.0.1:8010"
        assert self.provider.api_origin(self.checked_settings(base_url=base_url)) == base_url
        default_origin = self.provider.api_origin(self.checked_settings())
        assert default_origin.startswith("https://")
        assert default_origin.count("/") == 2

    def test_each_address_in_the_settings_changes_where_credentials_go(self) -> None:
        usual = self.provider.credential_origins(self.checked_settings())
        assert self.provider.api_origin(self.checked_settings()) in usual
        names = [name for name, info in self.provider.settings_model.model_fields.items() if info.annotation == ORIGIN]
        assert "base_url" in names
        for name in names:
            origins = self.provider.credential_origins(self.checked_settings(**{name: "https://other.example.com"}))
            assert "https://other.example.com" in origins
            assert origins != usual

    def test_capabilities_are_consistent(self) -> None:
        can = self.provider.capabilities
        assert set(can.methods) <= {"GET", "POST"}
        assert can.methods
        assert 200 in can.success_statuses
        assert (can.renewal is Renewal.NONE) == (can.expiry_set_by is ExpirySetBy.NOBODY)
        assert (can.proof is Proof.URL) == (can.secret_made_by is SecretMadeBy.NOBODY)
        assert can.can_list or not can.list_has_details
        assert can.can_update or can.renewal is not Renewal.UPDATE
        assert set(can.immutable_fields) <= set(self.provider.config_model.model_fields)
        assert can.answer_within > 0

    def test_capabilities_match_the_implemented_methods(self) -> None:
        can = self.provider.capabilities
        implemented = {
            "list_remote": can.can_list,
            "read_remote": can.can_list or can.reveals_url,
            "update": can.can_update,
            "set_enabled": can.can_set_status,
            "test": can.can_test,
            "identify": can.can_identify,
        }
        for method, declared in implemented.items():
            overridden = getattr(type(self.provider), method) is not getattr(Provider, method)
            assert overridden == declared, method

    def test_event_types_are_complete(self) -> None:
        names = [item.name for item in self.provider.event_types]
        assert len(names) == len(set(names))
        for item in self.provider.event_types:
            assert item.action in set(Action), item.name
            assert item.group.strip(), item.name
            assert item.label.strip(), item.name
            assert item.wildcard == ("*" in item.name), item.name
        labels = [item.label for item in self.provider.event_types]
        assert len(labels) == len(set(labels))

    def test_the_canonical_config_is_valid_and_idempotent(self) -> None:
        for config in (self.config, self.other_config):
            canonical = self.provider.canonical(self.checked_config(config))
            assert json.loads(json.dumps(canonical)) == canonical
            assert self.provider.canonical(self.checked_config(canonical)) == canonical

    def _models(self) -> tuple[type[BaseModel], type[BaseModel], type[BaseModel]]:
        return (self.provider.settings_model, self.provider.credentials_model, self.provider.config_model)
