"""Take the screenshots of the README: `python -m tests.browser.screenshots`.

Starts the product in a temporary folder, with two days of requests and some subscriptions, and opens it in Chromium.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "docs" / "screenshots"
PASSWORD = "only-for-screenshots"
SIZE: ViewportSize = {"width": 1360, "height": 900}
THEMES = ("light", "dark")
ACTIVITY_SECONDS = 45  # until leases were renewed and events received
DETECTION_SECONDS = 20  # until the forged requests are detected as a problem
START_SECONDS = 60
HISTORY_HOURS = 47
SHOWN, DISABLED = "Finance documents", "Shared links"


def main() -> None:
    """Set up an installation, run it, and take the screenshots."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(folder))
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=os.environ, check=True)
        prepare()
        with running():
            time.sleep(ACTIVITY_SECONDS)
            for _ in range(3):
                control("emit", {"count": 1, "bad_signature": True, "remote_id": remote_id_of(SHOWN)})
            time.sleep(DETECTION_SECONDS)
            take_all(f"http://127.0.0.1:{os.environ['PORT']}")


def environment(folder: str) -> dict[str, str]:
    """Return the environment of a temporary installation."""
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
        "ENV_FILE": os.devnull,
        "DATA_DIR": folder,
        "SECRET_KEY": "only-for-screenshots-only-for-screenshots",
        "ENCRYPTION_KEYS": "cGljdHVyZXMtcGljdHVyZXMtcGljdHVyZXMtcGljdHU=",
        "PORT": str(free_port()),
        "SANDBOX_PORT": str(free_port()),
        "ADMIN_PASSWORD": PASSWORD,
    }


def free_port() -> int:
    """Return a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare() -> None:
    """Create the demo accounts, two more subscriptions, and two days of requests."""
    import django

    django.setup()
    from subscriptions.lifecycle import desired_state
    from subscriptions.lifecycle.demo import ensure_demo
    from subscriptions.models import Subscription

    ensure_demo()
    demo = Subscription.objects.select_related("account").get(account__provider="egnyte-connect")
    for name, config in (
        (SHOWN, {"event_types": ["fs:*", "comment:*"], "paths": ["/Shared/Finance"]}),
        (DISABLED, {"event_types": ["link:*"], "paths": []}),
    ):
        desired_state.subscribe(demo.account, config=config, by="staff:ann", name=name)
    fill_past(demo.pk)


def fill_past(subscription_id: int) -> None:
    """Create requests with a daily rhythm: few at night, many in the afternoon."""
    from django.utils import timezone

    from events.models import Outcome, VerificationState, WebhookRequest
    from events.storage.time_range import first_id_at
    from subscriptions.models import Subscription

    account_id = Subscription.objects.values_list("account_id", flat=True).get(pk=subscription_id)
    chance = random.Random(4)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=HISTORY_HOURS)
    for _ in range(HISTORY_HOURS):
        moments = sorted(hour + timedelta(seconds=chance.uniform(0, 3599)) for _ in range(busy(hour, chance)))
        WebhookRequest.objects.bulk_create(
            WebhookRequest(
                uid=type(first_id_at(moment))(int=first_id_at(moment).int + number),
                account_id=account_id,
                subscription_id=subscription_id,
                method="POST",
                received_at=moment,
                remote_addr="127.0.0.1",
                body=b"",
                size=0,
                verification=VerificationState.VERIFIED,
                outcome=Outcome.PING,
                processed_at=moment,
            )
            for number, moment in enumerate(moments)
        )
        hour += timedelta(hours=1)


def busy(hour: datetime, chance: random.Random) -> int:
    """Return a plausible number of requests for this hour of the day."""
    return round(18 + 60 * math.exp(-(((hour.hour - 14) / 4) ** 2)) + chance.uniform(0, 14))


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Run the product in a subprocess."""
    product = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{os.environ['PORT']}/livez")
        yield
    finally:
        product.send_signal(signal.SIGTERM)
        product.wait(20)


def wait_for(url: str) -> None:
    """Wait until the URL answers. Raises TimeoutError."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.5)
    raise TimeoutError(f"{url} does not answer.")


def take_all(site: str) -> None:
    """Take the home page, a subscription, a problem and the pending changes, in both themes."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        pages = {theme: logged_in(browser, site, theme) for theme in THEMES}
        for theme, page in pages.items():
            take_stable_pages(page, site, theme)
        control(f"remote/{remote_id_of(SHOWN)}", {"deleted": True})
        control(f"remote/{remote_id_of(DISABLED)}", {"status": "disabled"})
        for theme, page in pages.items():  # without delay: the worker repairs both within seconds
            page.goto(f"{site}/admin/subscriptions/subscription/plan/?look=now")
            page.screenshot(path=SCREENSHOTS / f"plan-{theme}.png")
        browser.close()


def logged_in(browser: Browser, site: str, theme: str) -> Page:
    """Log in with a color theme, and return the home page."""
    page = browser.new_page(viewport=SIZE, color_scheme="dark" if theme == "dark" else "light")
    page.goto(f"{site}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state("networkidle")
    return page


def take_stable_pages(page: Page, site: str, theme: str) -> None:
    """Take the pages that stay the same while the other theme's are taken."""
    page.screenshot(path=SCREENSHOTS / f"home-{theme}.png")
    page.goto(f"{site}/admin/subscriptions/subscription/")
    page.get_by_role("link", name=SHOWN).click()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"subscription-{theme}.png")
    page.goto(f"{site}/admin/subscriptions/problem/")
    page.get_by_role("link", name=re.compile("Rejected requests")).click()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"problem-{theme}.png")


def remote_id_of(name: str) -> str:
    """Return the remote ID of a subscription."""
    from subscriptions.models import Subscription

    return str(Subscription.objects.values_list("remote_id", flat=True).get(name=name))


def control(action: str, data: dict[str, object]) -> None:
    """Call the sandbox control API of Egnyte Connect."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{os.environ['SANDBOX_PORT']}/_sandbox/egnyte-connect/{action}",
        data=json.dumps(data).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


if __name__ == "__main__":
    main()
