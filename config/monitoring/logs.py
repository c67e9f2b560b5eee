"""The format of log lines."""

from __future__ import annotations

import copy
import logging
import re
import time
from http import HTTPStatus

from providers.contract.sanitize import sanitize_text

# Masked, because anyone who knows the token of a callback URL can send requests to it.
HOOK_TOKEN = re.compile(r"(/hooks/)[^/\s?'\"]+")


class OneLine(logging.Formatter):
    """Format a record, with its traceback, as one line of UTF-8. Times are in UTC; callback URL tokens are masked."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line. A refused request (403) is no bug, so its traceback is left out."""
        if getattr(record, "status_code", None) == HTTPStatus.FORBIDDEN:
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        line = " | ".join(super().format(record).splitlines())
        return HOOK_TOKEN.sub(r"\1***", sanitize_text(line))
