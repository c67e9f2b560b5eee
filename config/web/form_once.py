"""Carry out a form once, however often it is sent: by a double click, a reload, or the browser's own retry.

Every form has a key (`config.templatetags.form_key`). The first request with a key and the same content is carried out,
the others get its result. A form that was changed before it is sent again, for example after "Back", is another one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect

from config.models import SentForm
from config.web.bypass_middleware import GetResponse
from providers.digests import text_digest

KEY_FIELD = "form_key"
WAIT_SECONDS, POLL_SECONDS = 15.0, 0.2  # for the result of the first request
DIGEST, LOCATION = "hookkeeper.form_digest", "hookkeeper.form_location"  # in `request.META`
ALREADY_SENT = "This form was sent twice and carried out once."
UNKNOWN_RESULT = "This form was sent before, and its result is not known. Check it before you send it again."


def set_result(request: HttpRequest, location: str) -> None:
    """Declare the form carried out although the response is no redirect; a repetition is sent to `location`."""
    request.META[LOCATION] = location


class FormOnce:
    """Answers repeated forms of the dashboard with the result of the first. Runs after the check of the CSRF token."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Remember the result of a form that was carried out; forget one that was not."""
        carried_out = False
        try:
            response = self.get_response(request)
            location = request.META.get(LOCATION) or response.headers.get("Location", "")
            if location and (digest := request.META.get(DIGEST)):
                carried_out = bool(SentForm.objects.filter(digest=digest).update(location=location))
            return response
        finally:
            if not carried_out and (digest := request.META.get(DIGEST)):
                SentForm.objects.filter(digest=digest).delete()

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Claim the form, or answer its repetition."""
        key = request.POST.get(KEY_FIELD) if request.method == "POST" and request.path.startswith("/admin/") else None
        if not key or not request.user.is_authenticated:
            return None
        content = json.dumps([request.user.pk, request.get_full_path(), sorted(request.POST.lists())])
        digest = text_digest(content)
        if SentForm.claim(digest):
            request.META[DIGEST] = digest
            return None
        return _repeated(request, digest)


def _repeated(request: HttpRequest, digest: str) -> HttpResponse:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        location = SentForm.objects.filter(digest=digest).values_list("location", flat=True).first()
        if location:
            messages.warning(request, ALREADY_SENT)
            return HttpResponseRedirect(location)
        if location is None or time.monotonic() > end:  # it was not carried out, or takes too long
            messages.warning(request, UNKNOWN_RESULT)
            return HttpResponseRedirect(request.get_full_path())
        time.sleep(POLL_SECONDS)
