"""The base class of domain errors that mean "the current state does not allow this"."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class Conflict(Exception):
    """A request that the current state does not allow.

    The message is shown to the person or program that asked. `status` and `code` are those of the REST API's answer,
    so that the API can report each subclass without knowing it.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.CONFLICT
    code: ClassVar[str] = "conflict"


class NotSupported(Conflict):
    """A request that the provider, or the way in which the subscription is managed, does not support."""

    code = "not_supported"
