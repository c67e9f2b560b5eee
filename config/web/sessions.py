"""Sessions in the database under the digest of their key, so that nobody who reads the database can use them."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessions
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from providers.digests import text_digest

KEY_LENGTH = 40  # of Django's column


class SessionStore(DatabaseSessions):
    """Django's sessions in the database. The key itself is only in the browser's cookie."""

    def _get_session_from_db(self) -> Session | None:
        row = Session.objects.filter(pk=_stored_key(self.session_key), expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str | None) -> bool:
        """Return whether there is a session with this key."""
        return super().exists(_stored_key(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        """Return the row of this session."""
        row = super().create_model_instance(data)
        row.session_key = _stored_key(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        """Delete the session with this key; by default this session."""
        key = session_key or self.session_key
        if key is not None:
            super().delete(_stored_key(key))


def _stored_key(session_key: str | None) -> str:
    return text_digest(session_key or "")[:KEY_LENGTH]
