"""The login `admin` that `manage.py up` sees to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from django.contrib.auth.models import User

USERNAME = "admin"


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in. The password is None when it is what it was before: only its hash is stored."""

    username: str
    password: str | None = field(repr=False)


def ensure_admin(wanted_password: str) -> Login:
    """Makes the login when there is none, with the wanted password or a new random one.

    An existing login keeps its password, unless another one is wanted.
    """
    user = User.objects.filter(username=USERNAME).first()
    if user is None:
        password = wanted_password or secrets.token_urlsafe(12)
        User.objects.create_superuser(USERNAME, password=password)
        return Login(USERNAME, password)
    # Compared first, because setting it again would end the sessions of everybody who is logged in.
    if wanted_password and not user.check_password(wanted_password):
        user.set_password(wanted_password)
        user.save(update_fields=["password"])
    return Login(USERNAME, wanted_password or None)
