"""Show a simulated provider's webhooks in another form than they were sent, as its options say."""

from __future__ import annotations

import unicodedata
from collections.abc import Set
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from providers.sandbox.calls import Response


class ShownForm(BaseModel):
    """How API responses differ from what was sent. Every option has a default that changes nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shown_url: Literal["as sent", "final slash", "upper case", "default port"] = "as sent"  # of callback URLs
    shown_text: Literal["as sent", "NFC", "NFD"] = "as sent"  # the Unicode form of all texts
    shown_path_case: Literal["as sent", "lower", "upper"] = "as sent"  # of the field `path`
    shown_status: str | None = None  # instead of the status of an enabled webhook, such as `Active`
    secret_mask: str | None = None  # instead of secrets, such as `xxxxxxxx`
    left_out: tuple[str, ...] = ()  # names of fields that are left out


def rewrite(response: Response, form: ShownForm, secret_keys: Set[str]) -> Response:
    """Return a successful response in this form; `secret_keys` are the fields that `secret_mask` hides."""
    changed = any(getattr(form, name) != field.default for name, field in ShownForm.model_fields.items())
    if not changed or not 200 <= response.status < 300 or not isinstance(response.body, dict | list):
        return response
    return Response(response.status, _shown(response.body, form, secret_keys), response.headers)


def _shown(value: object, form: ShownForm, secret_keys: Set[str], key: str = "") -> object:
    if isinstance(value, dict):
        return {
            name: _shown(item, form, secret_keys, name) for name, item in value.items() if name not in form.left_out
        }
    if isinstance(value, list | tuple):
        return [_shown(item, form, secret_keys, key) for item in value]
    return _shown_text(value, form, secret_keys, key) if isinstance(value, str) else value


def _shown_text(text: str, form: ShownForm, secret_keys: Set[str], key: str) -> str:
    if key in secret_keys and text and form.secret_mask is not None:
        return form.secret_mask
    if key == "status" and text in ("enabled", "active") and form.shown_status:
        return form.shown_status
    if text.startswith(("http://", "https://")) and "/hooks/" in text:
        return _shown_url(text, form.shown_url)
    if key == "path" and form.shown_path_case != "as sent":
        text = text.lower() if form.shown_path_case == "lower" else text.upper()
    if form.shown_text != "as sent":
        text = unicodedata.normalize(form.shown_text, text)
    return text


def _shown_url(url: str, form: str) -> str:
    parts = urlsplit(url)
    if form == "upper case":
        return parts._replace(netloc=parts.netloc.upper()).geturl().replace(parts.scheme, parts.scheme.upper(), 1)
    if form == "default port":
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()
    return f"{url}/" if form == "final slash" else url
