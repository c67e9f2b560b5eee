"""The user `admin` that `manage.py up` creates."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from django.contrib.auth.models import User

USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class AdminLogin:
    """Name and password of the user `admin`. The password is None if it was not changed: only its hash is stored."""

    username: str
    password: str | None = field(repr=False)


def ensure_admin(requested_password: str) -> AdminLogin:
    """Create the user with the given password or a random one. Change an existing user's password only if one is given.

    Return how to log in.
    """
    user = User.objects.filter(username=USERNAME).first()
    if user is None:
        password = requested_password or secrets.token_urlsafe(12)
        User.objects.create_superuser(USERNAME, password=password)
        return AdminLogin(USERNAME, password)
    # Setting the same password again would end all of the user's sessions.
    if requested_password and not user.check_password(requested_password):
        user.set_password(requested_password)
        user.save(update_fields=["password"])
    return AdminLogin(USERNAME, requested_password or None)
