"""Checks that apply to every page: permissions, no buttons for viewers, few queries, empty states, escaping."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from config.models import ApiToken
from events.models import Event, WebhookRequest
from providers.audit import log
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.models import Operation, OperationStatus, Subscription
from tests.admin.conftest import log_in_staff
from tests.harness.fake_provider import body_of, store_request

LISTS = {
    "providers_provideraccount": "No accounts yet.",
    "providers_historyentry": "No changes yet.",
    "subscriptions_subscription": "Add an account first.",
    "subscriptions_operation": "No operations yet.",
    "events_webhookrequest": "No requests received yet.",
    "events_event": "No events received yet.",
    "config_apitoken": "No tokens yet.",
}
ADDABLE = ("providers_provideraccount", "subscriptions_subscription", "config_apitoken")
MAX_QUERIES = 25


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return response.content.decode()


def list_url(name: str) -> str:
    return reverse(f"admin:{name}_changelist")


@pytest.fixture
def rows(received: WebhookRequest) -> dict[str, int]:
    """Create one row of each kind, and return the keys by the name of the admin pages."""
    subscription = received.subscription
    operation = Operation.objects.create(
        subscription=subscription,
        action="register",
        reason="It is not registered.",
        actor="staff:ann",
        status=OperationStatus.FAILED,
        request={"method": "POST", "url": "https://fake.example.test/hooks", "body": {"url": "<b>bold</b>"}},
        response={"status": 400, "body": "no <b>such</b> thing"},
        error="Refused.",
        finished_at=timezone.now(),
    )
    after = {"name": "<i>Finance</i>"}
    log.record("api:importer", "changed", "subscription", subject_id=subscription.uid, name="Finance", after=after)
    token, _ = ApiToken.issue("importer", ["events:read"])
    entry, event = HistoryEntry.objects.latest("pk"), Event.objects.get()
    return {
        "providers_provideraccount": subscription.account_id,
        "providers_historyentry": entry.pk,
        "subscriptions_subscription": subscription.pk,
        "subscriptions_operation": operation.pk,
        "events_webhookrequest": received.pk,
        "events_event": event.pk,
        "config_apitoken": token.pk,
    }


@pytest.mark.parametrize(("name", "text"), LISTS.items())
def test_an_empty_list_has_an_empty_state(viewer: Client, name: str, text: str) -> None:
    assert text in text_of(viewer, list_url(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_lists_and_details_need_the_permission(
    unprivileged: Client, viewer: Client, rows: dict[str, int], name: str
) -> None:
    detail = reverse(f"admin:{name}_change", args=[rows[name]])
    for url in (list_url(name), detail):
        assert unprivileged.get(url).status_code == 403
        assert viewer.get(url).status_code == 200
        assert Client().get(url).status_code == 302  # to the login


@pytest.mark.parametrize("name", LISTS)
def test_viewers_see_no_buttons(viewer: Client, rows: dict[str, int], name: str) -> None:
    for url in (list_url(name), reverse(f"admin:{name}_change", args=[rows[name]])):
        page = text_of(viewer, url)
        content = page[page.index('<div class="hk"') :]  # below Unfold's frame, which has a form to log out
        assert 'method="post"' not in content
        assert "hk-primary" not in content
        assert 'name="pk"' not in content


@pytest.mark.parametrize("name", LISTS)
def test_rows_written_by_the_product_cannot_be_added_or_deleted(
    superuser: Client, rows: dict[str, int], name: str
) -> None:
    detail = reverse(f"admin:{name}_change", args=[rows[name]])
    assert superuser.post(detail, {"name": "x"}).status_code == 405
    if name not in ADDABLE:
        assert superuser.get(reverse(f"admin:{name}_add")).status_code == 403
        assert superuser.post(reverse(f"admin:{name}_delete", args=[rows[name]])).status_code == 403


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_row_is_not_found(superuser: Client, name: str) -> None:
    for key in ("999999", "x", "9" * 30):
        assert superuser.get(reverse(f"admin:{name}_change", args=[key])).status_code in (302, 404)


@pytest.mark.parametrize("name", LISTS)
def test_a_page_needs_few_queries(
    superuser: Client, rows: dict[str, int], name: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for url in (list_url(name), reverse(f"admin:{name}_change", args=[rows[name]])):
        with django_assert_max_num_queries(MAX_QUERIES) as captured:
            text_of(superuser, url)
        counting = [query for query in captured.captured_queries if "COUNT(*)" in query["sql"].upper()]
        assert not counting


def test_more_rows_need_no_more_queries(
    superuser: Client, hook: Subscription, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    def queries() -> int:
        with django_assert_max_num_queries(MAX_QUERIES) as captured:
            text_of(superuser, list_url("events_webhookrequest"))
        return len(captured.captured_queries)

    store_request(hook, body_of({"id": 0, "type": "made"}))
    count_with_one_row = queries()
    for number in range(1, 10):
        store_request(hook, body_of({"id": number, "type": "made"}))
    assert queries() == count_with_one_row


def test_text_from_outside_is_escaped(superuser: Client, rows: dict[str, int]) -> None:
    operation = text_of(
        superuser, reverse("admin:subscriptions_operation_change", args=[rows["subscriptions_operation"]])
    )
    entry = text_of(superuser, reverse("admin:providers_historyentry_change", args=[rows["providers_historyentry"]]))
    assert "&lt;b&gt;such&lt;/b&gt;" in operation
    assert "<b>bold</b>" not in operation
    assert "&lt;i&gt;Finance&lt;/i&gt;" in entry


def test_history_names_users_and_api_tokens(viewer: Client, rows: dict[str, int]) -> None:
    page = text_of(viewer, list_url("providers_historyentry"))
    assert "importer (API)" in page
    assert text_of(viewer, list_url("providers_historyentry") + "?by=staff:").count("importer (API)") == 0


@pytest.mark.slow
def test_history_of_one_object(viewer: Client, rows: dict[str, int]) -> None:
    uid = Subscription.objects.get().uid
    assert "importer (API)" in text_of(viewer, list_url("providers_historyentry") + f"?subject={uid}")
    assert "No results match these filters." in text_of(viewer, list_url("providers_historyentry") + "?subject=other")


def test_unfold_styles_users_and_groups(superuser: Client) -> None:
    for name in ("auth_user", "auth_group"):
        assert "unfold" in text_of(superuser, list_url(name))
        assert "unfold" in text_of(superuser, reverse(f"admin:{name}_add"))


def test_the_navigation_shows_permitted_pages_only(viewer: Client, unprivileged: Client) -> None:
    links = [list_url(name) for name in LISTS]
    permitted, unpermitted = text_of(viewer, reverse("admin:index")), text_of(unprivileged, reverse("admin:index"))
    assert all(f'href="{link}"' in permitted for link in links)
    assert not any(f'href="{link}"' in unpermitted for link in links)
    assert list_url("auth_user") not in permitted


@pytest.mark.parametrize("name", LISTS)
def test_pages_load_nothing_from_other_hosts(superuser: Client, rows: dict[str, int], name: str) -> None:
    page = text_of(superuser, list_url(name))
    for mark in ('src="http', 'href="https', "url(http"):
        assert mark not in page


def test_an_account_of_an_uninstalled_provider_can_be_viewed(superuser: Client) -> None:
    account = ProviderAccount.objects.create(provider="gone", name="Old")
    subscription = Subscription(account=account, callback_url="http://127.0.0.1/hooks/x", secrets=["s"])
    super(Subscription, subscription).save()
    assert "The provider “gone” is not installed any more" in text_of(
        superuser, reverse("admin:providers_provideraccount_change", args=[account.pk])
    )
    assert "Old" in text_of(superuser, reverse("admin:subscriptions_subscription_change", args=[subscription.pk]))
    assert superuser.get(reverse("admin:subscriptions_subscription_edit", args=[subscription.pk])).status_code == 403


def test_the_history_links_to_the_changed_object(superuser: Client, viewer: Client, rows: dict[str, int]) -> None:
    subscription = Subscription.objects.get()
    link = f'href="{reverse("admin:subscriptions_subscription_change", args=[subscription.pk])}"'
    entry = HistoryEntry.objects.create(
        actor="staff:ann", action="changed", subject_type="subscription", subject_id=str(subscription.uid)
    )
    url = reverse("admin:providers_historyentry_change", args=[entry.pk])
    assert link in text_of(viewer, url)
    assert link not in text_of(log_in_staff("rea", "providers.view_historyentry"), url)
    for kind, uid in (("subscription", "no id"), ("something", str(subscription.uid))):
        unlinked = HistoryEntry.objects.create(actor="clock", action="changed", subject_type=kind, subject_id=uid)
        text_of(superuser, reverse("admin:providers_historyentry_change", args=[unlinked.pk]))


@pytest.mark.parametrize(
    "name",
    [
        *("providers_provideraccount_edit", "providers_provideraccount_check", "providers_provideraccount_delete"),
        *("subscriptions_subscription_edit", "subscriptions_subscription_secret", "events_webhookrequest_reprocess"),
        *("config_apitoken_revoke", "subscriptions_subscription_actions", "config_apitoken_add"),
        *("providers_provideraccount_add", "subscriptions_subscription_add"),
    ],
)
def test_cross_site_forms_are_rejected(superuser: Client, rows: dict[str, int], name: str) -> None:
    csrf_client = Client(enforce_csrf_checks=True)
    csrf_client.force_login(User.objects.get(username="ann"))
    key = rows.get(name.rpartition("_")[0])
    args = [] if name.endswith(("_add", "_actions")) else [key]
    assert (
        csrf_client.post(reverse(f"admin:{name}", args=args), {"pk": key or "", "action": "delete"}).status_code == 403
    )
    assert Subscription.objects.get().present
    assert not ApiToken.objects.exclude(revoked_at=None).exists()


@pytest.mark.slow
def test_no_page_contains_a_secret(superuser: Client, rows: dict[str, int]) -> None:
    subscription = Subscription.objects.select_related("account").get()
    secrets = [*subscription.secrets, *map(str, subscription.account.credentials.values())]
    assert all(secrets)
    pages = [list_url(name) for name in LISTS]
    pages += [reverse(f"admin:{name}_change", args=[key]) for name, key in rows.items()]
    pages += [reverse(f"admin:{name}_edit", args=[rows[name]]) for name in ADDABLE if name != "config_apitoken"]
    for url in (*pages, reverse("admin:index")):
        page = text_of(superuser, url)
        assert not any(secret in page for secret in secrets), url


def test_error_pages_say_what_to_do(superuser: Client, unprivileged: Client) -> None:
    refused = unprivileged.get(list_url("events_event"))
    assert refused.status_code == 403
    assert "can grant it" in refused.content.decode()
    unlinked = superuser.get("/admin/nothing/")
    assert unlinked.status_code == 404
    assert "Page not found" in unlinked.content.decode()
    csrf_client = Client(enforce_csrf_checks=True)
    assert "reload the page" in csrf_client.post(reverse("admin:login")).content.decode()
    assert "was logged" in render_to_string("500.html")


def test_a_user_without_permissions_is_told_who_can_grant_them(unprivileged: Client, viewer: Client) -> None:
    assert "has no permissions yet" in text_of(unprivileged, reverse("admin:index"))
    assert "First steps" not in text_of(unprivileged, reverse("admin:index"))
    assert "has no permissions yet" not in text_of(viewer, reverse("admin:index"))
