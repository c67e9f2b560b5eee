"""Additions to the OpenAPI document that drf-spectacular cannot derive.

Settings, credentials and configs are typed per provider, from the schemas that the plug-ins declare. The errors are
those of `providers.rest.problems`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema

from events.api.cloudevents import BATCH_MEDIA_TYPE
from providers.contract.base import AnyProvider
from providers.contract.registry import all_providers
from providers.rest.permissions import scopes_needed

Schema = dict[str, Any]

REF = "#/components/schemas/"
PART = "x-part"  # until `complete` has run, marks objects whose shape a provider's schema decides
REQUEST_SUFFIX = "Request"  # ends the names of the components of request bodies

PROBLEM: Schema = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Machine-readable kind of the error."},
        "detail": {"type": "string", "description": "Explanation for people."},
        "request_id": {
            "type": "string",
            "description": "The request ID; also in the X-Request-ID header and in the log.",
        },
        "provider_code": {"type": "string", "description": "For `provider_error`: the kind of provider error."},
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
    400: "The request is malformed, or has an invalid or unknown field or parameter.",
    401: "The token is missing or invalid.",
    403: "The token lacks a scope.",
    404: "No such resource.",
    406: "The requested response format is not available.",
    409: "The current state or the provider does not allow this.",
    412: "If-Match does not match the current ETag.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests; Retry-After says when to try again.",
    502: "The provider failed or refused the call.",
    503: "Provider rate limit reached; Retry-After says when to try again.",
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """The security scheme for API tokens."""

    target_class = "config.rest.authentication.BearerTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        """Return the scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "From `manage.py create_api_token`, or the dashboard.",
        }


class ObjectFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Objects whose shape a provider decides; `complete` inserts the shapes."""

    target_class = "providers.rest.fields.ObjectField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """Return an object marked with its part."""
        return {"type": "object", PART: self.target.part}


class ProviderFieldScheme(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Provider slugs."""

    target_class = "providers.rest.fields.ProviderField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> Schema:
        """Return an enum of the installed slugs."""
        return {"type": "string", "enum": list(all_providers())}


class ApiSchema(AutoSchema):
    """One operation, with the scopes that it requires and its possible errors."""

    def get_description(self) -> str:  # type: ignore[override]  # drf-spectacular takes no arguments here
        """Return the view's docstring and the required scopes."""
        scopes = " and ".join(f"`{scope}`" for scope in scopes_needed(self.view, self.method))
        return f"{super().get_description()}\n\nScope: {scopes or 'any token'}."

    def get_operation(self, *args: Any, **kwargs: Any) -> Schema | None:
        """Return the operation with its errors."""
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
        statuses = {400, 401, 403, 406, 429}
        if "{" in self.path:
            statuses |= {404} if self.method == "GET" else {404, 409, 412}
        if self.method in ("POST", "PATCH"):
            statuses |= {413, 415}
        view: Any = self.view
        if view.action in view.live:
            statuses |= {409, 502, 503}
        return sorted(statuses)


def keep_api_endpoints(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Leave out endpoints that are not part of the REST API."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


def complete(result: Schema, **_: object) -> Schema:
    """Add the error responses and the providers' schemas."""
    components = result["components"]
    schemas: dict[str, Schema] = components["schemas"]
    _remove_enum_ids(schemas)
    for name in list(schemas):
        if name.endswith(REQUEST_SUFFIX):
            schemas[name]["additionalProperties"] = False
    for name in [name for name, schema in schemas.items() if _provider_properties(schema)]:
        _type_by_provider(name, schemas)
    for plugin in all_providers().values():
        for name, schema in _component_schemas(plugin):
            schemas[name] = schema
    schemas["Problem"] = PROBLEM
    components["schemas"] = dict(sorted(schemas.items()))
    content = {"application/problem+json": {"schema": {"$ref": f"{REF}Problem"}}}
    components["responses"] = {
        f"Problem{status}": {"description": text, "content": content} for status, text in PROBLEMS.items()
    }
    return result


def _remove_enum_ids(value: Any) -> None:
    """Remove markers that drf-spectacular needs only to name enums."""
    if isinstance(value, dict):
        value.pop("x-spec-enum-id", None)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _remove_enum_ids(inner)


def _provider_properties(schema: Schema) -> dict[str, str]:
    """Return the properties that a provider's schema decides, with the part of the schema."""
    return {
        name: value[PART]
        for name, value in schema.get("properties", {}).items()
        if isinstance(value, dict) and PART in value
    }


def _type_by_provider(name: str, schemas: dict[str, Schema]) -> None:
    """Type a component per provider.

    A component with a `provider` property becomes one of several variants. In any other, the property may have the
    shape of any provider.
    """
    schema = schemas[name]
    if "provider" not in schema["properties"]:
        for field, part in _provider_properties(schema).items():
            partial = part == "credentials"  # merged by key, so no key is required
            refs = [_ref(plugin, part, partial=partial) for plugin in all_providers().values()]
            schema["properties"][field] = {**_annotations(schema["properties"][field]), "anyOf": refs}
        return
    mapping: dict[str, str] = {}
    for slug, plugin in all_providers().items():
        variant = f"{_prefix(plugin)}{name}"
        schemas[variant] = _variant(schema, plugin, shown=not name.endswith(REQUEST_SUFFIX))
        mapping[slug] = f"{REF}{variant}"
    schemas[name] = {
        "oneOf": [{"$ref": ref} for ref in mapping.values()],
        "discriminator": {"propertyName": "provider", "mapping": mapping},
    }


def _variant(schema: Schema, plugin: AnyProvider, *, shown: bool) -> Schema:
    properties = dict(schema["properties"])
    properties["provider"] = {"type": "string", "enum": [plugin.slug]}
    for field, part in _provider_properties(schema).items():
        choices = [_ref(plugin, part)]
        if shown and part == "config":
            # The config of an imported subscription need not match our schema.
            choices.append({"type": "object", "description": "The config as found at the provider."})
        properties[field] = {**_annotations(schema["properties"][field]), "anyOf": choices}
    return {**schema, "properties": properties}


def _annotations(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("description", "readOnly", "writeOnly")}


def _ref(plugin: AnyProvider, part: str, *, partial: bool = False) -> Schema:
    return {"$ref": f"{REF}{_prefix(plugin)}{part.capitalize()}{'Changes' if partial else ''}"}


def _prefix(plugin: AnyProvider) -> str:
    return "".join(word.capitalize() for word in plugin.slug.split("-"))


def _component_schemas(plugin: AnyProvider) -> Iterator[tuple[str, Schema]]:
    """Yield a plug-in's schemas as components, nested schemas included."""
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
