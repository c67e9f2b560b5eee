"""The names that people give to accounts, subscriptions, channels and tokens.

They appear in subjects of mail, logs and lists. A line break would break a mail header; a character that is invisible
or changes the direction of the text would make a name look like another one.
"""

from __future__ import annotations

import unicodedata

from django.core.exceptions import ValidationError

from providers.contract.errors import FieldError, InvalidInput
from providers.contract.sanitize import is_storable

INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})  # Unicode categories: control, format, line breaks, surrogates
FILLERS = frozenset("\u115f\u1160\u3164\uffa0")  # letters without a glyph
MESSAGE = "The name must not contain line breaks, control characters or invisible characters."


def is_visible(text: str) -> bool:
    """Return whether the text has no line break, control character, or character that is invisible."""
    return (text.isascii() and text.isprintable()) or not any(map(_is_invisible, text))


def single_line(text: str) -> str:
    """Return the text on one line, with blanks in place of characters that a name must not contain."""
    return " ".join("".join(" " if _is_invisible(character) else character for character in text).split())


def check_name(name: str) -> None:
    """Raise InvalidInput for a name that is not visible as it is."""
    if not is_visible(name):
        raise InvalidInput([FieldError("name", "invalid", MESSAGE)])


def validate_name(name: str) -> None:
    """Raise Django's ValidationError for such a name, in a field that refuses what cannot be stored itself."""
    if is_storable(name) and not is_visible(name):
        raise ValidationError(MESSAGE, code="invalid")


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE or character in FILLERS
