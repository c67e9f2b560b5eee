"""The OpenAPI document: complete, without a warning, public, and equal to the committed file."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config.environment import BASE_DIR
from providers.contract.registry import all_providers

pytestmark = pytest.mark.xdist_group("openapi")  # the document takes seconds to make

COMMITTED = Path(BASE_DIR) / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def text() -> str:
    out = StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    return out.getvalue()


@pytest.fixture(scope="module")
def document(text: str) -> dict[str, Any]:
    return dict(yaml.load(text, Loader=yaml.CSafeLoader))


def test_the_schema_matches_the_committed_file(text: str) -> None:
    assert text.strip() == COMMITTED.read_text().strip(), "The API changed: run `make schema` and look at the diff."


@pytest.mark.slow
def test_has_every_route(document: dict[str, Any]) -> None:
    routes = {
        "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path)
        for path in paths(get_resolver().url_patterns)
        if path.startswith("api/v1/")
    }
    assert set(document["paths"]) == routes


def paths(patterns: list[Any], prefix: str = "") -> list[str]:
    routes: list[str] = []
    for item in patterns:
        route = prefix + str(item.pattern)
        if isinstance(item, URLResolver):
            routes += paths(list(item.url_patterns), route)
        elif isinstance(item, URLPattern):
            routes.append(route)
    return routes


def test_every_operation_documents_errors_and_scopes(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation_name = f"{method} {path}"
            assert {"401", "403", "406"} <= set(operation["responses"]), operation_name
            assert "Scope: " in operation["description"], operation_name
            assert operation["security"] == [{"token": []}], operation_name
            if "{" in path:
                assert "404" in operation["responses"], operation_name


@pytest.mark.slow
def test_shapes_are_typed_by_provider(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("Account", "NewAccountRequest", "Subscription"):
        assert set(schemas[name]["discriminator"]["mapping"]) == set(all_providers())
        assert len(schemas[name]["oneOf"]) == len(all_providers())
    for plugin in all_providers().values():
        prefix = "".join(word.capitalize() for word in plugin.slug.split("-"))
        assert set(schemas[f"{prefix}Config"]["properties"]) == set(plugin.config_model.model_fields)
        account = schemas[f"{prefix}Account"]["properties"]
        assert "credentials" not in account
        assert account["settings"]["anyOf"] == [{"$ref": f"#/components/schemas/{prefix}Settings"}]
        assert account["provider"]["enum"] == [plugin.slug]
    assert len(schemas["NewSubscriptionRequest"]["properties"]["config"]["anyOf"]) == len(all_providers())


def test_every_reference_resolves(text: str, document: dict[str, Any]) -> None:
    for kind, name in set(re.findall(r"#/components/(\w+)/(\w+)", text)):
        assert name in document["components"][kind]


def test_request_schemas_refuse_unknown_fields(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Request") and "oneOf" not in schema:
            assert schema["additionalProperties"] is False, name


@pytest.mark.slow
@pytest.mark.django_db
def test_schema_and_docs_are_public() -> None:
    client = Client()
    schema = client.get("/api/schema/")
    assert (schema.status_code, yaml.safe_load(schema.content)["info"]["title"]) == (200, "Hookkeeper")
    docs = client.get("/api/docs/", headers={"Authorization": "Bearer nonsense"})
    assert docs.status_code == 200
    assert client.post("/api/docs/").status_code == 405


@pytest.mark.django_db
def test_docs_load_no_external_resources() -> None:
    page = Client().get("/api/docs/").content.decode()
    urls = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(urls) > 3
    for url in urls:
        assert url.startswith("/static/")
        assert finders.find(url.removeprefix("/static/")), url
    assert not re.findall(r"https?://", page)
    assert re.search(r'"validatorUrl": ?null', page)  # else the page would send our schema to swagger.io
