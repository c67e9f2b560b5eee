"""Generates the two secrets that are not entered by a person: Django's signing key and the encryption key."""

from __future__ import annotations

import os
import secrets

from cryptography.fernet import Fernet

from config.environment import SECRETS_FILE, Environment, SettingError, text


def ensure_secrets() -> None:
    """Generate the secrets that are not set, and append them to DATA_DIR/secrets.env (mode 0600).

    Raise SettingError if the file cannot be written.
    """
    fresh = {"SECRET_KEY": secrets.token_urlsafe(48), "ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    missing = {name: value for name, value in fresh.items() if not text(name)}
    if not missing:
        return
    try:
        # Appended, because stored credentials are unreadable without the key of an earlier start.
        SECRETS_FILE.touch(0o600)
        with SECRETS_FILE.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in missing.items())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SettingError(
            "DATA_DIR", f"{SECRETS_FILE} cannot be written ({error.strerror}); name a folder that can be written to."
        ) from None
    Environment.ENVIRON.update(missing)
