"""What another process needs to work on the tests' database."""

from __future__ import annotations

from urllib.parse import quote

from django.db import connection


def database_url() -> str:
    """The DATABASE_URL of the database that this test runs on."""
    at = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{at['NAME']}"
    login = quote(at["USER"]) + (f":{quote(at['PASSWORD'])}" if at["PASSWORD"] else "")
    return f"postgresql://{login}@{at['HOST'] or 'localhost'}:{at['PORT'] or 5432}/{at['NAME']}"
