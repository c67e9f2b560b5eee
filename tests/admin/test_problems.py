"""Pages of problems and of notification channels."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from providers.dashboard import list_page
from providers.models import HistoryEntry
from subscriptions.models import Channel, Message, Problem, Severity, State, Subscription
from subscriptions.notifications import dispatch, transports
from subscriptions.problems import detector
from tests.admin.conftest import log_in_staff

LIST = "/admin/subscriptions/problem/"
CHANNELS = "/admin/subscriptions/channel/"
SECRET_URL = "https://hooks.example.com/services/T0/B0/top-secret"


@pytest.fixture
def drifted(hook: Subscription) -> Problem:
    drift = [{"field": "paths", "before": ["/theirs"], "after": ["/ours"]}]
    Subscription.objects.filter(pk=hook.pk).update(
        name="Finance", state=State.DRIFTED, state_reason="It differs in paths.", drift=drift
    )
    detector.detect()
    return Problem.objects.get()


def page_of(client: Client, row: Problem) -> str:
    response = client.get(f"{LIST}{row.pk}/change/")
    assert response.status_code == 200
    return response.content.decode()


def test_an_empty_list_has_an_empty_state(viewer: Client) -> None:
    assert "No open problems." in viewer.get(LIST).content.decode()


@pytest.mark.slow
def test_the_list_shows_unresolved_problems_unless_filtered(viewer: Client, drifted: Problem) -> None:
    assert "It differs in paths." in viewer.get(LIST).content.decode()
    detector.resolve(drifted, by="staff:ann")
    assert "It differs in paths." not in viewer.get(LIST).content.decode()
    for query in ("state=any", "state=resolved", "state=any&q=financ", "state=any&kind=drifted&severity=warning"):
        assert "It differs in paths." in viewer.get(f"{LIST}?{query}").content.decode(), query
    for query in ("state=open", "state=any&severity=critical", "state=any&account=999999", "state=any&q=nothing"):
        assert "It differs in paths." not in viewer.get(f"{LIST}?{query}").content.decode(), query
    assert "was ignored" in viewer.get(f"{LIST}?state=sideways").content.decode()


def test_problems_are_listed_by_severity_then_age(
    viewer: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_page, "PAGE_SIZE", 2)
    now = timezone.now()
    created = (("warning", 1), ("critical", 9), ("info", 0), ("critical", 3), ("warning", 5))
    for number, (severity, hours) in enumerate(created):
        at = now - timedelta(hours=hours)
        times = dict.fromkeys(("first_at", "opened_at", "last_at", "changed_at"), at)
        Problem.objects.create(
            kind="drifted", severity=severity, subject_type="subscription", subject_id=str(number), **times
        )
    pages: list[list[str]] = []
    query: str | None = "?severity="
    while query is not None:
        page = viewer.get(LIST + query).context["page"]
        pages.append([row.subject_id for row in page.rows])
        query = page.older
    assert pages == [["3", "1"], ["0", "4"], ["2"]]
    assert [row.subject_id for row in viewer.get(LIST + page.newer).context["page"].rows] == ["0", "4"]
    shown = viewer.get(f"{LIST}?start=2").content.decode()
    assert "Previous</a>" in shown
    assert "Next<" in shown
    for query in ("?start=x", "?start=-5", "?start=99999999999999999999"):
        assert viewer.get(LIST + query).status_code == 200


def test_the_page_of_a_problem_links_to_its_next_action(viewer: Client, drifted: Problem, hook: Subscription) -> None:
    page = page_of(viewer, drifted)
    assert "Compare the fields" in page
    assert f'href="/admin/subscriptions/subscription/{hook.pk}/change/?plan=now#plan"' in page
    assert "/theirs" in page
    assert "Opened" in page
    assert "Acknowledge</button>" not in page, "a viewer changes nothing"


@pytest.mark.slow
def test_users_acknowledge_and_resolve_a_problem(superuser: Client, drifted: Problem) -> None:
    assert "Acknowledge</button>" in page_of(superuser, drifted)
    superuser.post(f"{LIST}{drifted.pk}/acknowledge/")
    drifted.refresh_from_db()
    assert (drifted.state, drifted.acknowledged_by) == ("acknowledged", "staff:ann")
    assert "Acknowledge</button>" not in page_of(superuser, drifted)
    superuser.post(f"{LIST}{drifted.pk}/resolve/")
    drifted.refresh_from_db()
    assert (drifted.state, drifted.resolved_by) == ("resolved", "staff:ann")
    assert "Resolved by ann." in " ".join(page_of(superuser, drifted).split())
    response = superuser.post(f"{LIST}{drifted.pk}/acknowledge/", follow=True)
    assert "already been resolved" in response.content.decode()
    assert list(HistoryEntry.objects.order_by("pk").values_list("action", flat=True)) == ["acknowledged", "resolved"]
    entry = HistoryEntry.objects.latest("pk")
    page = superuser.get(f"/admin/providers/historyentry/{entry.pk}/change/").content.decode()
    assert f'href="{LIST}{drifted.pk}/change/"' in page


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_changing_a_problem_needs_the_permission_and_a_post(
    superuser: Client, viewer: Client, drifted: Problem, action: str
) -> None:
    assert viewer.post(f"{LIST}{drifted.pk}/{action}/").status_code == 403
    assert superuser.get(f"{LIST}{drifted.pk}/{action}/").status_code == 405
    assert superuser.post(f"{LIST}999999/{action}/").status_code == 404


def test_problems_cannot_be_added_or_deleted(superuser: Client, drifted: Problem) -> None:
    assert superuser.get(f"{LIST}add/").status_code == 403
    assert superuser.post(f"{LIST}{drifted.pk}/delete/").status_code == 403


@pytest.mark.slow
def test_a_problem_is_shown_on_the_pages_of_its_subscription_and_account(
    viewer: Client, drifted: Problem, hook: Subscription
) -> None:
    for name, key in (
        ("subscriptions_subscription_change", hook.pk),
        ("providers_provideraccount_change", hook.account_id),
    ):
        page = viewer.get(reverse(f"admin:{name}", args=[key])).content.decode()
        assert f'href="{LIST}{drifted.pk}/change/"' in page
        assert "Drifted: opened" in page, "on the timeline"
    without_problems = log_in_staff("sue", "subscriptions.view_subscription")
    page = without_problems.get(reverse("admin:subscriptions_subscription_change", args=[hook.pk])).content.decode()
    assert f'href="{LIST}{drifted.pk}/change/"' not in page


@pytest.mark.slow
def test_the_page_of_a_subscription_shows_the_action_without_repeating_the_message(
    superuser: Client, viewer: Client, drifted: Problem, hook: Subscription
) -> None:
    url = reverse("admin:subscriptions_subscription_change", args=[hook.pk])
    page = superuser.get(url).content.decode()
    shown = page[page.index('id="problems"') : page.index("<h2>Endpoint</h2>")]
    assert "It differs in paths." not in shown, "the note of the state already contains it"
    assert "Compare the fields" in shown
    assert "?plan=now#plan" in shown
    assert "?plan=now#plan" not in viewer.get(url).content.decode().partition("<h2>Endpoint</h2>")[0]
    Subscription.objects.filter(pk=hook.pk).update(
        state=State.ACTIVE, silent_since=timezone.now(), silence_reason="Our receiver answers."
    )
    assert superuser.get(url).content.decode().count("Our receiver answers.") == 1
    detector.detect()
    page = superuser.get(url).content.decode()
    shown = page[page.index('id="problems"') : page.index("<h2>Endpoint</h2>")]
    assert "Our receiver answers." in shown
    assert 'id="silent"' not in page, "a silence is shown once"


@pytest.mark.slow
def test_problems_of_an_account_come_before_those_of_its_subscriptions(
    viewer: Client, drifted: Problem, hook: Subscription
) -> None:
    type(hook.account).objects.filter(pk=hook.account_id).update(status="failing", status_reason="Get a new token")
    for number in range(6):
        Subscription.objects.create(account=hook.account, name=f"S{number}", state=State.DRIFTED, due_at=None)
    detector.detect()
    page = viewer.get(reverse("admin:providers_provideraccount_change", args=[hook.account_id])).content.decode()
    shown = page[page.index('id="problems"') : page.index("<h2>Subscriptions")]
    assert shown.index("Failing: ") < shown.index("Drifted: ")
    assert "and more" in shown
    assert "Get a new token" not in shown, "the note of the account already contains it"


def test_the_navigation_counts_problems_that_need_attention(
    viewer: Client, unprivileged: Client, drifted: Problem
) -> None:
    from config.dashboard.navigation import open_problems

    request = viewer.get(LIST).wsgi_request
    assert open_problems(request) == "1"
    assert 'class="hk-count">1<' in viewer.get(LIST).content.decode()
    assert open_problems(unprivileged.get("/admin/").wsgi_request) == ""
    detector.acknowledge(drifted, by="staff:ann")
    assert open_problems(request) == ""
    assert "hk-count" not in viewer.get(LIST).content.decode()


# -- Channels --------------------------------------------------------------------------------------------------------

FORM = {"name": "Ops", "min_severity": "warning", "every": "15", "remind_every": "12", "enabled": "on"}


def test_an_empty_list_of_channels_has_an_empty_state(superuser: Client) -> None:
    assert "No notification channels." in superuser.get(CHANNELS).content.decode()


def test_adding_an_email_channel(superuser: Client) -> None:
    assert "?kind=webhook" in superuser.get(f"{CHANNELS}add/").content.decode()
    page = superuser.get(f"{CHANNELS}add/?kind=email").content.decode()
    assert 'name="recipients"' in page
    assert 'name="url"' not in page
    response = superuser.post(f"{CHANNELS}add/?kind=email", {**FORM, "recipients": "a@example.com, b@example.com"})
    channel = Channel.objects.get()
    assert response.headers["Location"] == f"{CHANNELS}{channel.pk}/change/"
    assert channel.recipients == ["a@example.com", "b@example.com"]
    assert (channel.every, channel.remind_every) == (timedelta(minutes=15), timedelta(hours=12))
    assert not channel.recoveries
    assert HistoryEntry.objects.get().subject_type == "channel"


def test_invalid_channel_settings_are_reported_at_their_fields(superuser: Client) -> None:
    page = superuser.post(f"{CHANNELS}add/?kind=email", {**FORM, "recipients": "nobody"}).content.decode()
    assert "nobody is not an email address." in page
    page = superuser.post(f"{CHANNELS}add/?kind=webhook", {**FORM, "url": "chat"}).content.decode()
    assert "Enter an http or https URL." in page
    page = superuser.post(f"{CHANNELS}add/?kind=webhook", {**FORM, "every": "0"}).content.decode()
    assert "greater than or equal to 1" in page
    assert not Channel.objects.exists()


@pytest.fixture
def chat(db: None) -> Channel:
    return Channel.objects.create(name="Chat", kind="webhook", url=SECRET_URL)


@pytest.mark.slow
def test_the_url_of_a_webhook_channel_is_kept_and_never_shown(superuser: Client, chat: Channel) -> None:
    edit = f"{CHANNELS}{chat.pk}/edit/"
    pages = [superuser.get(path).content.decode() for path in (CHANNELS, f"{CHANNELS}{chat.pk}/change/", edit)]
    assert "top-secret" not in "".join(pages)
    superuser.post(edit, {**FORM, "name": "Team", "remind_every": "0", "url": ""})
    chat = Channel.objects.get()
    assert (chat.name, chat.url, chat.remind_every) == ("Team", SECRET_URL, None)
    superuser.post(edit, {**FORM, "url": f"{SECRET_URL}-2"})
    assert Channel.objects.get().url == f"{SECRET_URL}-2"
    assert "top-secret" not in str(list(HistoryEntry.objects.values_list("changes", flat=True)))


@pytest.mark.slow
def test_the_test_button_reports_the_result(superuser: Client, chat: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise transports.DeliveryFailed("hooks.example.com answered 404: no_service.")

    monkeypatch.setattr(dispatch, "deliver", fail)
    page = superuser.post(f"{CHANNELS}{chat.pk}/test/", follow=True).content.decode()
    assert "Test failed. hooks.example.com answered 404: no_service." in page
    monkeypatch.setattr(dispatch, "deliver", lambda *_, **__: "hooks.example.com answered 200.")
    page = superuser.post(f"{CHANNELS}{chat.pk}/test/", follow=True).content.decode()
    assert "Test succeeded. hooks.example.com answered 200." in page
    assert Message.objects.count() == 2


def test_the_page_shows_failures_and_messages(superuser: Client, chat: Channel) -> None:
    Channel.objects.update(failures=3, last_error="It answered 500.", retry_at=timezone.now() + timedelta(minutes=4))
    Message.objects.create(channel=chat, subject="Critical: A", text="The text.", status="failed", error="500.")
    page = superuser.get(f"{CHANNELS}{chat.pk}/change/").content.decode()
    assert "It answered 500." in page
    assert "Failed 3 times" in page
    assert "The text." in page
    assert "It answered 500." in superuser.get(CHANNELS).content.decode()


def test_a_missing_mail_server_is_reported(superuser: Client, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    Channel.objects.create(name="Ops", kind="email", recipients=["a@example.com"])
    assert "EMAIL_URL is not set" in superuser.get(f"{CHANNELS}{Channel.objects.get().pk}/change/").content.decode()
    assert "EMAIL_URL is not set" in superuser.get(f"{CHANNELS}add/?kind=email").content.decode()


def test_deleting_a_channel_asks_for_confirmation(superuser: Client, chat: Channel) -> None:
    path = f"{CHANNELS}{chat.pk}/delete/"
    assert "sends no more notifications" in superuser.get(path).content.decode()
    assert Channel.objects.exists()
    superuser.post(path)
    assert not Channel.objects.exists()


def test_viewers_cannot_change_channels(viewer: Client, chat: Channel) -> None:
    assert viewer.get(f"{CHANNELS}{chat.pk}/change/").status_code == 200
    assert viewer.get(f"{CHANNELS}{chat.pk}/edit/").status_code == 403
    assert viewer.post(f"{CHANNELS}{chat.pk}/test/").status_code == 403
    assert viewer.get(f"{CHANNELS}{chat.pk}/delete/").status_code == 403
    assert viewer.get(f"{CHANNELS}add/").status_code == 403


def test_a_problem_is_sent_by_email(superuser: Client, drifted: Problem) -> None:
    Problem.objects.update(severity=Severity.CRITICAL)
    superuser.post(f"{CHANNELS}add/?kind=email", {**FORM, "recipients": "a@example.com"})
    dispatch.notify_all()
    assert [message.subject for message in mail.outbox] == ["Critical: Drifted: Finance"]
    assert "(Fake account)" in mail.outbox[0].body
