"""Checks before the product starts. Those that need a real start are tested in `test_up.py`."""

from __future__ import annotations

import pytest
from django.db import connection

from config.environment import SettingError
from config.supervisor import preflight


@pytest.mark.django_db
def test_an_outdated_sqlite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_database()
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    with pytest.raises(SettingError, match=r"DATABASE_URL.*older than 3\.35"):
        preflight.check_database()
