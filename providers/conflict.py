"""The base class of domain errors that mean "the current state does not allow this"."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class Conflict(Exception):
    """An action that the current state does not allow.

    The message is shown to people and programs. `status` and `code` are those of the REST API's response, so that the
    API can report every subclass without importing it.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.CONFLICT
    code: ClassVar[str] = "conflict"


class NotSupported(Conflict):
    """An action that the provider, or a manually managed subscription, does not support."""

    code = "not_supported"
