"""The strict parser of JSON request bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import load_json


class TooLarge(APIException):
    """The request body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The request body is too large."


class StrictJSONParser(BaseParser):
    """Parses UTF-8 JSON of limited size and depth, without NaN."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the value of the body. Raises ParseError and TooLarge."""
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
        body: bytes = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge
        try:
            return load_json(body)
        except UnreadableRequest as error:
            raise ParseError(str(error), code="malformed") from None
