"""Base models of account settings, credentials and subscription config, and their validation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from providers.contract.errors import FieldError, InvalidInput

type_ = type  # several dataclasses below have a field named `type`


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an origin such as https://acme.example.com")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("enter only scheme, host and port; Hookkeeper adds the paths")
    parts.port  # noqa: B018 - raises ValueError for a port that is not a number
    return f"{parts.scheme}://{parts.netloc}"


Origin = Annotated[str, AfterValidator(_origin)]


HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def unique(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values without repetitions, in the order of their first occurrence."""
    return tuple(dict.fromkeys(values))


def check_header_name(value: str) -> str:
    """Return the value if it is the name of an HTTP header. Raises ValueError."""
    if not HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as X-Hook-Key")
    return value


def check_token(value: str) -> str:
    """Return the value if it is a bare token. Raises ValueError."""
    if not VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the token alone: no blanks, no line breaks, no `Bearer` before it")
    return value


HeaderName = Annotated[str, AfterValidator(check_header_name)]
BearerToken = Annotated[str, AfterValidator(check_token)]


class AccountSettings(BaseModel):
    """Base of each provider's account settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    base_url: Origin | None = Field(
        default=None,
        title="Base URL",
        description="Only for a sandbox or a gateway: replaces scheme, host and port of the provider's API.",
        examples=["http://127.0.0.1:8010"],
    )


class Credentials(BaseModel):
    """Base of each provider's credentials: every field is secret and write-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    def __repr__(self) -> str:
        return f"{type_(self).__name__}(***)"

    __str__ = __repr__

    def secret_values(self) -> tuple[str, ...]:
        """Return every value that must be masked wherever it appears."""
        return tuple(str(value) for value in self.model_dump().values() if value not in (None, ""))


class SubscriptionConfig(BaseModel):
    """Base of each provider's subscription config."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], data: object) -> M:
    """Return `data` as an instance of the model. Raises InvalidInput with one entry per error."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            [
                FieldError(
                    field=".".join(str(part) for part in item["loc"]),
                    code="required" if item["type"] == "missing" else "invalid",
                    message=_message(item["type"], item["msg"], item.get("ctx", {})),
                )
                for item in errors
                if not (item["type"] == "too_short" and _is_about_an_element(item["loc"], errors))
            ]
        ) from None


def _is_about_an_element(loc: tuple[int | str, ...], errors: Sequence[ErrorDetails]) -> bool:
    """Return whether an element of that list is wrong. Pydantic does not count it and reports a short list as well."""
    return any(len(item["loc"]) > len(loc) and item["loc"][: len(loc)] == loc for item in errors)


def _message(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "missing":
        return "This field is required."
    if kind == "extra_forbidden":
        return "There is no such field."
    if kind == "too_short":
        return f"At least {context['min_length']} required."
    if kind == "too_long":
        return f"At most {context['max_length']} allowed."
    return message.removeprefix("Value error, ")
