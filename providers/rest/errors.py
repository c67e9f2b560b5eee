"""Errors of views for which REST framework has no exception, and conversions of invalid provider input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pydantic
from rest_framework import status
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError

from providers.conflict import Conflict
from providers.contract.errors import FieldError, InvalidInput
from providers.contract.schemas import M, validate


class PreconditionFailed(APIException):
    """If-Match names a version other than the current one."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "precondition_failed"
    default_detail = "The resource has changed since it was read: If-Match does not match its ETag. Read it again."


def field_errors(errors: InvalidInput, prefix: str) -> dict[str, list[ErrorDetail]]:
    """Return the errors by dotted field name, as REST framework's ValidationError takes them."""
    by_field: dict[str, list[ErrorDetail]] = {}
    for error in errors.errors:
        by_field.setdefault(_dotted(prefix, error), []).append(ErrorDetail(error.message, code=error.code))
    return by_field


def schema_errors(model: type[M], data: object, prefix: str) -> dict[str, list[ErrorDetail]]:
    """Return the errors that a provider's schema finds in the data, by field; empty if the data is valid."""
    try:
        validate(model, data)
        # `validate` converts texts to numbers, because forms only send texts. In JSON a number must be a number.
        model.model_validate_json(json.dumps(data), strict=True)
    except InvalidInput as error:
        return field_errors(error, prefix)
    except pydantic.ValidationError as error:
        wrong_types = [
            FieldError(".".join(str(part) for part in item["loc"]), "invalid", item["msg"])
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        return field_errors(InvalidInput(wrong_types), prefix)
    return {}


@contextmanager
def stored_input(prefix: str) -> Iterator[None]:
    """Report InvalidInput as a conflict: the invalid values are stored ones, not those of the request."""
    try:
        yield
    except InvalidInput as error:
        raise Conflict(f"The stored values ({prefix}) no longer match the provider's schema: {error}") from None


@contextmanager
def sent_input(prefix: str) -> Iterator[None]:
    """Report InvalidInput as field errors of the request."""
    try:
        yield
    except InvalidInput as error:
        raise ValidationError(field_errors(error, prefix)) from None


def _dotted(prefix: str, error: FieldError) -> str:
    return ".".join(part for part in (prefix, error.field) if part)
