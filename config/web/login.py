"""The login form of the dashboard: throttled, with a record of every attempt."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from config.web.login_throttle import Throttle
from providers.audit import log

if TYPE_CHECKING:
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
else:
    from unfold.forms import AuthenticationForm

logger = logging.getLogger(__name__)

# Hashing a password takes some tenths of a second of a core, which webhooks need as well.
MAX_HASHES = 2
WAIT_SECONDS = 2.0  # for another login to be checked
USER = "user"  # the subject type in the audit trail
password_slots = threading.BoundedSemaphore(MAX_HASHES)


class LoginForm(AuthenticationForm):
    """Checks a password only if neither the user name nor the address has failed too often."""

    def clean(self) -> dict[str, Any]:
        """Check the password. Successes and failures are logged and written to the audit trail."""
        if not {"username", "password"} <= self.cleaned_data.keys():
            return self.cleaned_data
        if not password_slots.acquire(timeout=WAIT_SECONDS):
            raise ValidationError("Too many logins at the same time. Try again in a moment.", code="busy")
        try:
            return self._check_throttled(Throttle(self.cleaned_data["username"], self._address))
        finally:
            password_slots.release()

    @property
    def _address(self) -> str:
        return str(self.request.META.get("REMOTE_ADDR", "")) if self.request else ""

    def _check_throttled(self, throttle: Throttle) -> dict[str, Any]:
        seconds = throttle.seconds_left()
        if seconds:
            logger.warning("A login from %s was not checked: too many failures.", throttle.address)
            raise ValidationError(f"Too many failed logins. Try again in {seconds} s.", code="throttled")
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            self._record_failure(throttle)
            raise
        throttle.record_success()
        name = self.get_user().get_username()
        logger.info("%s logged in from %s.", name, throttle.address)
        _record(f"staff:{name}", "logged in", name, throttle.address)
        return cleaned

    def _record_failure(self, throttle: Throttle) -> None:
        """Record a failure, with the name only if there is such a user: people type passwords in the wrong field.

        Names that do not exist are written to the audit trail, which is never purged, only when a pause begins.
        """
        pauses = throttle.record_failure()
        name = User.objects.filter(username=throttle.username).values_list("username", flat=True).first() or ""
        logger.warning("A login as %s from %s failed.", name or "an unknown user", throttle.address)
        if name or pauses:
            _record("anonymous", "failed to log in", name, throttle.address)


def _record(actor: str, action: str, name: str, address: str) -> None:
    log.record(actor, action, USER, subject_id=name, name=name, after={"address": address})
