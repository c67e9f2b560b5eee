"""What a view refuses with, where REST framework has no exception for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pydantic
from rest_framework import status
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError

from providers.contract.errors import FieldError, InvalidInput
from providers.contract.schemas import M, validate


class Conflict(APIException):
    """The resource's state does not allow it."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"
    default_detail = "That does not fit the state it is in."


class NotSupported(Conflict):
    """Nobody can do that at this provider."""

    default_code = "not_supported"


class PreconditionFailed(APIException):
    """If-Match names another version than the one that is there."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "precondition_failed"
    default_detail = "It has changed since it was read: If-Match names another version. Read it again."


def field_errors(errors: InvalidInput, prefix: str) -> dict[str, list[ErrorDetail]]:
    """The complaints by dotted field, as REST framework's ValidationError takes them."""
    found: dict[str, list[ErrorDetail]] = {}
    for error in errors.errors:
        found.setdefault(_dotted(prefix, error), []).append(ErrorDetail(error.message, code=error.code))
    return found


def complaints(model: type[M], data: object, prefix: str) -> dict[str, list[ErrorDetail]]:
    """What a provider's model says against the data; empty when nothing."""
    try:
        validate(model, data)
        # A form sends texts only, and they are converted. In JSON a number has to be a number.
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
    """Around calls whose InvalidInput is about what is stored here, and no fault of the request."""
    try:
        yield
    except InvalidInput as error:
        raise Conflict(f"What is stored no longer fits the provider's schema ({prefix}): {error}") from None


@contextmanager
def sent_input(prefix: str) -> Iterator[None]:
    """Around calls whose InvalidInput is about what the request brought."""
    try:
        yield
    except InvalidInput as error:
        raise ValidationError(field_errors(error, prefix)) from None


def _dotted(prefix: str, error: FieldError) -> str:
    return ".".join(part for part in (prefix, error.field) if part)
