"""Fixtures of the browser tests: the system's Chromium, a live server, a sandbox, and the first steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from providers.sandbox.server import Sandbox

# Playwright runs an event loop in the thread of the test, in which Django would refuse database access.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the browser tests where Chromium is not installed; `.ci/run` installs it."""
    for item in items:
        if CHROMIUM is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="Chromium is not installed (apt-get install chromium)."))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": list(FLAGS)}


@pytest.fixture
def site(live_server: LiveServer, settings: Settings) -> Iterator[str]:
    """Run the product on a free port, with a sandbox that sends events to it only on request."""
    settings.PUBLIC_URL = live_server.url
    with Sandbox(port=0, stream_per_minute=0, seed=1) as sandbox:
        settings.SANDBOX_URL = sandbox.url
        yield live_server.url


@pytest.fixture
def strict_page(page: Page, site: str) -> Iterator[Page]:
    """Return a page that fails the test on script errors and on requests to other hosts."""
    urls: list[str] = []
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: pytest.fail(f"A script failed: {error}"))
    page.on("request", lambda request: urls.append(request.url))
    yield page
    assert urls
    assert not [url for url in urls if not url.startswith((f"{site}/", "data:", "blob:"))]


def log_in(page: Page, site: str) -> None:
    User.objects.create_superuser("ann", password="open-sesame")
    page.goto(f"{site}/admin/")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("open-sesame")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".hk-verdict")).to_be_visible()


def add_account(page: Page) -> None:
    login = requests.get(f"{django_settings.SANDBOX_URL}/_sandbox/", timeout=5).json()["providers"][0]
    page.get_by_role("link", name="Add an account").click()
    page.get_by_role("link", name="Egnyte Connect").click()
    page.locator("#id_name").fill("Acme")
    page.get_by_label("Domain").fill("wrong domain")
    page.get_by_label("Access token").fill(login["credentials"]["access_token"])
    page.get_by_role("button", name="Save and check").click()
    expect(page.locator("[data-field='settings.domain'] .hk-error")).to_contain_text("Must be the domain")
    page.get_by_label("Domain").fill(login["settings"]["domain"])
    page.get_by_text("More settings").click()
    page.get_by_label("Base URL").fill(login["settings"]["base_url"])
    page.get_by_label("Calls per second").fill("100")
    page.get_by_label("Access token").fill(login["credentials"]["access_token"])
    page.get_by_role("button", name="Save and check").click()
    expect(page.get_by_text("accepts the credentials")).to_be_visible()
