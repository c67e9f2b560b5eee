"""JSON out, fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import BaseRenderer
from rest_framework.utils.encoders import JSONEncoder

_encoder = JSONEncoder()


class FastJSONRenderer(BaseRenderer):
    """JSON by orjson. Values may be `orjson.Fragment`: JSON text that is passed on as it is."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "text"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """The data as UTF-8 bytes; nothing for None."""
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=_encoder.default, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            # Half a surrogate pair or a huge number in what a provider answered: JSON can say it, orjson will not.
            return json.dumps(data, cls=JSONEncoder, separators=(",", ":")).encode()
