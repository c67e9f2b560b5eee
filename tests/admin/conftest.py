"""Users with different permissions, and a request with an event."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from events.models import WebhookRequest
from events.processing.normalize import normalize_request
from subscriptions.models import Subscription
from tests.harness.fake_provider import body_of, store_request


def log_in_staff(name: str, *permissions: str) -> Client:
    """Log in a staff user with these permissions, such as `subscriptions.view_subscription`."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def superuser(db: None) -> Client:
    """Log in a superuser."""
    user = User.objects.create_superuser("ann")
    client = Client()
    client.force_login(user)
    return client


VIEWS = (
    *("providers.view_provideraccount", "providers.view_historyentry", "config.view_apitoken"),
    *("subscriptions.view_subscription", "subscriptions.view_operation"),
    *("subscriptions.view_problem", "subscriptions.view_channel"),
    *("events.view_event", "events.view_webhookrequest"),
)


@pytest.fixture
def viewer(db: None) -> Client:
    """Log in a user with all view permissions and no others."""
    return log_in_staff("vic", *VIEWS)


@pytest.fixture
def unprivileged(db: None) -> Client:
    """Log in a staff user without permissions."""
    return log_in_staff("nob")


@pytest.fixture
def received(hook: Subscription) -> WebhookRequest:
    """Return a processed request with one event."""
    request = store_request(hook, body_of({"id": 1, "type": "made", "path": "/Shared/Plan.docx", "by": "emma"}))
    normalize_request(request.pk)
    request.refresh_from_db()
    return request
