"""The user `admin` that `manage.py up` creates."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from config.environment import SettingError

USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class AdminLogin:
    """Name and password of the user `admin`. The password is None unless it was generated now."""

    username: str
    password: str | None = field(repr=False)


def ensure_admin(requested_password: str) -> AdminLogin:
    """Create the user with the given password or a random one. Change an existing user's password only if one is given.

    Return how to log in. Raise SettingError for a password that is easy to guess.
    """
    user = User.objects.filter(username=USERNAME).first()
    if requested_password:
        _check(requested_password)
    if user is None:
        password = requested_password or secrets.token_urlsafe(12)
        User.objects.create_superuser(USERNAME, password=password)
        return AdminLogin(USERNAME, None if requested_password else password)
    # Setting the same password again would end all of the user's sessions.
    if requested_password and not user.check_password(requested_password):
        user.set_password(requested_password)
        user.save(update_fields=["password"])
    return AdminLogin(USERNAME, None)


def _check(password: str) -> None:
    try:
        validate_password(password, User(username=USERNAME))
    except ValidationError as error:
        raise SettingError("ADMIN_PASSWORD", " ".join(error.messages)) from None
