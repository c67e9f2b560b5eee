"""All URLs of the product."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from config.dashboard.provider_page import provider_page
from config.monitoring import health
from config.monitoring.metrics import metrics
from events.api.events import EventViewSet
from events.api.requests import RequestViewSet
from events.receiver.handler import HookView
from providers.api import ProviderViewSet
from providers.rest.problems import NotFoundView
from subscriptions.api.accounts import AccountViewSet
from subscriptions.api.all_accounts import EverythingViewSet
from subscriptions.api.channels import ChannelViewSet
from subscriptions.api.problems import ProblemViewSet
from subscriptions.api.public_url import AddressViewSet
from subscriptions.api.subscriptions import SubscriptionViewSet

Actions = dict[str, Any]
ONE: Actions = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
ALL: Actions = {"get": "list", "post": "create"}

v1 = [
    path("providers/", ProviderViewSet.as_view({"get": "list"})),
    path("providers/<slug:slug>/", ProviderViewSet.as_view({"get": "retrieve"})),
    path("accounts/", AccountViewSet.as_view(ALL)),
    path("accounts/<uuid:id>/", AccountViewSet.as_view(ONE)),
    path("accounts/<uuid:id>/check/", AccountViewSet.as_view({"post": "check"})),
    path("accounts/<uuid:id>/remote-subscriptions/", AccountViewSet.as_view({"get": "remote_subscriptions"})),
    path("accounts/<uuid:id>/timeline/", AccountViewSet.as_view({"get": "timeline"})),
    path(
        "accounts/<uuid:id>/remote-subscriptions/<str:remote_id>/",
        AccountViewSet.as_view({"delete": "remove_orphan"}),
    ),
    path(
        "accounts/<uuid:id>/remote-subscriptions/<str:remote_id>/ignore/",
        AccountViewSet.as_view({"post": "ignore", "delete": "stop_ignoring"}),
    ),
    path("accounts/<uuid:id>/keep/", AccountViewSet.as_view({"post": "keep"})),
    path("address/", AddressViewSet.as_view({"get": "address"})),
    path("address/confirm/", AddressViewSet.as_view({"post": "confirm"})),
    path("accounts/<uuid:id>/import/", AccountViewSet.as_view({"post": "import_remote"})),
    path("accounts/<uuid:id>/plan/", AccountViewSet.as_view({"get": "plan"})),
    path("accounts/<uuid:id>/reconcile/", AccountViewSet.as_view({"post": "reconcile"})),
    path("plan/", EverythingViewSet.as_view({"get": "plan"})),
    path("reconcile/", EverythingViewSet.as_view({"post": "reconcile"})),
    path("subscriptions/", SubscriptionViewSet.as_view(ALL)),
    path("subscriptions/<uuid:id>/", SubscriptionViewSet.as_view(ONE)),
    path("subscriptions/<uuid:id>/plan/", SubscriptionViewSet.as_view({"get": "plan"})),
    path("subscriptions/<uuid:id>/reconcile/", SubscriptionViewSet.as_view({"post": "reconcile"})),
    path("subscriptions/<uuid:id>/enable/", SubscriptionViewSet.as_view({"post": "enable"})),
    path("subscriptions/<uuid:id>/disable/", SubscriptionViewSet.as_view({"post": "disable"})),
    path("subscriptions/<uuid:id>/renew/", SubscriptionViewSet.as_view({"post": "renew"})),
    path("subscriptions/<uuid:id>/test/", SubscriptionViewSet.as_view({"post": "test"})),
    path("subscriptions/<uuid:id>/secret/", SubscriptionViewSet.as_view({"post": "secret", "patch": "enter_secret"})),
    path("subscriptions/<uuid:id>/rotate-secret/", SubscriptionViewSet.as_view({"post": "rotate_secret"})),
    path("subscriptions/<uuid:id>/forget/", SubscriptionViewSet.as_view({"post": "forget"})),
    path("subscriptions/<uuid:id>/timeline/", SubscriptionViewSet.as_view({"get": "timeline"})),
    path("subscriptions/<uuid:id>/operations/", SubscriptionViewSet.as_view({"get": "operations"})),
    path("problems/", ProblemViewSet.as_view({"get": "list"})),
    path("problems/<uuid:id>/", ProblemViewSet.as_view({"get": "retrieve"})),
    path("problems/<uuid:id>/acknowledge/", ProblemViewSet.as_view({"post": "acknowledge"})),
    path("problems/<uuid:id>/resolve/", ProblemViewSet.as_view({"post": "resolve"})),
    path("channels/", ChannelViewSet.as_view(ALL)),
    path("channels/<uuid:id>/", ChannelViewSet.as_view(ONE)),
    path("channels/<uuid:id>/test/", ChannelViewSet.as_view({"post": "test"})),
    path("requests/", RequestViewSet.as_view({"get": "list"})),
    path("requests/reprocess/", RequestViewSet.as_view({"post": "reprocess_many"})),
    path("requests/<uuid:id>/", RequestViewSet.as_view({"get": "retrieve"})),
    path("requests/<uuid:id>/reprocess/", RequestViewSet.as_view({"post": "reprocess"})),
    path("requests/<uuid:id>/headers/", RequestViewSet.as_view({"post": "secret_headers"})),
    path("events/", EventViewSet.as_view({"get": "list"})),
    path("events/<uuid:id>/", EventViewSet.as_view({"get": "retrieve"})),
]

urlpatterns = [
    # The receiver answers every path below /hooks/, with or without a token. Nothing there is redirected.
    re_path(r"^hooks\Z", HookView.as_view(), {"token": ""}),
    re_path(r"^hooks/(?P<token>(?s:.*?))/?\Z", HookView.as_view(), name="hook"),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("api/v1/", include(v1)),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    # Any other path below /api/ is a 404; otherwise Django would redirect paths without a final slash.
    re_path(r"^api(?:/|\Z)", NotFoundView.as_view()),
    path("admin/providers/table/", admin.site.admin_view(provider_page), name="provider-table"),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
]
