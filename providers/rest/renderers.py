"""The renderer of JSON responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.encoders import JSONEncoder

from providers.contract.sanitize import sanitize_json

_encoder = JSONEncoder()


class FastJSONRenderer(BaseRenderer):
    """Renders JSON with orjson. A value may be an `orjson.Fragment`: JSON text that is inserted unchanged."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "text"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """Return the data as UTF-8 bytes; empty for None."""
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=_encoder.default, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            # orjson refuses unpaired surrogates and huge numbers, which a provider's JSON may contain.
            return json.dumps(sanitize_json(data), cls=JSONEncoder, separators=(",", ":")).encode()
