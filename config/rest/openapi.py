"""The OpenAPI document: what drf-spectacular cannot know by itself.

Settings, credentials and configs are typed by provider, from the schemas that the plug-ins declare; the errors are
those of `config.rest.problems`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema

from config.rest.permissions import scopes_needed
from events.api.cloudevents import BATCH_MEDIA_TYPE
from providers.contract.base import AnyProvider
from providers.contract.registry import all_providers

Schema = dict[str, Any]

REF = "#/components/schemas/"
PART = "x-part"  # marks, until `complete` has run, what a provider's schema decides
STRICT = "Request"  # how the components of request bodies end

PROBLEM: Schema = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "What to decide by."},
        "detail": {"type": "string", "description": "What to show to a person."},
        "request_id": {"type": "string", "description": "Also in X-Request-ID, and in the log."},
        "provider_code": {"type": "string", "description": "Of a `provider_error`: its kind."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Dotted, as in `config.paths.3`."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}

PROBLEMS = {
    400: "The request is malformed, or has a field or a parameter that is wrong or unknown.",
    401: "No token, or one that does not count.",
    403: "The token lacks a scope.",
    404: "There is nothing here.",
    406: "No such format of the answer.",
    409: "The state it is in, or the provider, does not allow it.",
    412: "If-Match names another version.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests; Retry-After says when to come again.",
    502: "The provider failed or refused.",
    503: "The provider takes no calls now; Retry-After says when to try again.",
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """How to show a token."""

    target_class = "config.rest.authentication.BearerTokens"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        """A bearer token."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "From `manage.py create_api_token`, or the dashboard.",
        }


class ObjectFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # registers itself
    """An object whose shape a provider decides; `complete` puts the shapes in."""

    target_class = "providers.rest.fields.ObjectField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """A marked object."""
        return {"type": "object", PART: self.target.part}


class ProviderFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # registers itself
    """The slugs that there are."""

    target_class = "providers.rest.fields.ProviderField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """A closed set."""
        return {"type": "string", "enum": list(all_providers())}


class ApiSchema(AutoSchema):
    """One operation: with the scope that it needs, and the errors that it may end in."""

    def get_description(self) -> str:  # type: ignore[override]  # drf-spectacular takes no arguments here
        """The docstring, and the scope."""
        scopes = " and ".join(f"`{scope}`" for scope in scopes_needed(self.view, self.method))
        return f"{super().get_description()}\n\nScope: {scopes or 'any token'}."

    def get_operation(self, *args: Any, **kwargs: Any) -> Schema | None:
        """The operation with its errors."""
        operation: Schema | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        for status in self._problem_statuses():
            operation["responses"].setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
        for response in operation["responses"].values():
            content = response.get("content", {})
            if BATCH_MEDIA_TYPE in content:
                content[BATCH_MEDIA_TYPE] = {"schema": {"type": "array", "items": {"$ref": f"{REF}CloudEvent"}}}
        return operation

    def _problem_statuses(self) -> list[int]:
        found = {400, 401, 403, 406, 429}
        if "{" in self.path:
            found |= {404} if self.method == "GET" else {404, 409, 412}
        if self.method in ("POST", "PATCH"):
            found |= {413, 415}
        view: Any = self.view
        if view.action in view.live:
            found |= {409, 502, 503}
        return sorted(found)


def only_the_api(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Leaves out what is no part of the REST API."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


def complete(result: Schema, **_: object) -> Schema:
    """Adds the problems and the providers' shapes."""
    components = result["components"]
    schemas: dict[str, Schema] = components["schemas"]
    _forget_enum_ids(schemas)
    for name in list(schemas):
        if name.endswith(STRICT):
            schemas[name]["additionalProperties"] = False
    for name in [name for name, schema in schemas.items() if _parts_of(schema)]:
        _type_by_provider(name, schemas)
    for plugin in all_providers().values():
        for name, schema in _shapes_of(plugin):
            schemas[name] = schema
    schemas["Problem"] = PROBLEM
    components["schemas"] = dict(sorted(schemas.items()))
    content = {"application/problem+json": {"schema": {"$ref": f"{REF}Problem"}}}
    components["responses"] = {
        f"Problem{status}": {"description": text, "content": content} for status, text in PROBLEMS.items()
    }
    return result


def _forget_enum_ids(value: Any) -> None:
    """Takes out what drf-spectacular only needs to give enums names of their own."""
    if isinstance(value, dict):
        value.pop("x-spec-enum-id", None)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _forget_enum_ids(inner)


def _parts_of(schema: Schema) -> dict[str, str]:
    """The properties that a provider's schema decides, and which of its schemas."""
    return {
        name: value[PART]
        for name, value in schema.get("properties", {}).items()
        if isinstance(value, dict) and PART in value
    }


def _type_by_provider(name: str, schemas: dict[str, Schema]) -> None:
    """One of several schemas where the provider is told beside the shape, else a property of any of the shapes."""
    schema = schemas[name]
    if "provider" not in schema["properties"]:
        for field, part in _parts_of(schema).items():
            partial = part == "credentials"  # merged by key, so that none is required
            refs = [_ref(plugin, part, partial=partial) for plugin in all_providers().values()]
            schema["properties"][field] = {**_words(schema["properties"][field]), "anyOf": refs}
        return
    mapping: dict[str, str] = {}
    for slug, plugin in all_providers().items():
        variant = f"{_prefix(plugin)}{name}"
        schemas[variant] = _variant(schema, plugin, shown=not name.endswith(STRICT))
        mapping[slug] = f"{REF}{variant}"
    schemas[name] = {
        "oneOf": [{"$ref": ref} for ref in mapping.values()],
        "discriminator": {"propertyName": "provider", "mapping": mapping},
    }


def _variant(schema: Schema, plugin: AnyProvider, *, shown: bool) -> Schema:
    properties = dict(schema["properties"])
    properties["provider"] = {"type": "string", "enum": [plugin.slug]}
    for field, part in _parts_of(schema).items():
        choices = [_ref(plugin, part)]
        if shown and part == "config":
            # What an imported one has at the provider need not fit our schema.
            choices.append({"type": "object", "description": "As it was found at the provider."})
        properties[field] = {**_words(schema["properties"][field]), "anyOf": choices}
    return {**schema, "properties": properties}


def _words(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("description", "readOnly", "writeOnly")}


def _ref(plugin: AnyProvider, part: str, *, partial: bool = False) -> Schema:
    return {"$ref": f"{REF}{_prefix(plugin)}{part.capitalize()}{'Changes' if partial else ''}"}


def _prefix(plugin: AnyProvider) -> str:
    return "".join(word.capitalize() for word in plugin.slug.split("-"))


def _shapes_of(plugin: AnyProvider) -> Iterator[tuple[str, Schema]]:
    """A plug-in's schemas as components, those that they are made of included."""
    prefix = _prefix(plugin)
    models = {
        "Settings": plugin.settings_model,
        "Credentials": plugin.credentials_model,
        "Config": plugin.config_model,
    }
    for part, model in models.items():
        schema = model.model_json_schema(ref_template=f"{REF}{prefix}{{model}}")
        inner: Mapping[str, Schema] = schema.pop("$defs", {})
        for name, definition in inner.items():
            yield f"{prefix}{name}", definition
        yield f"{prefix}{part}", schema
        if part == "Credentials":
            changes = {key: value for key, value in schema.items() if key != "required"}
            changes["properties"] = {
                name: {"anyOf": [value, {"type": "null"}]} for name, value in schema["properties"].items()
            }
            yield f"{prefix}CredentialsChanges", changes
