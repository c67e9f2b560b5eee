"""The endpoints below /subscriptions/: reading, creating, changing, and the actions on one subscription."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from providers.filters import FilterSet
from providers.rest.errors import stored_input
from providers.rest.views import ApiViewSet
from subscriptions.api.etags import IF_MATCH, check_if_match, subscription_etag
from subscriptions.api.operation_serializers import OperationSerializer, TestResultSerializer
from subscriptions.api.plan_serializers import PlanSerializer, ReconcileSerializer
from subscriptions.api.secret_serializers import EnterSecretSerializer, RotateSecretSerializer, SecretSerializer
from subscriptions.api.subscription_serializers import (
    NewSubscriptionSerializer,
    SubscriptionChangesSerializer,
    SubscriptionSerializer,
)
from subscriptions.api.timelines import TIMELINE_FILTERS, EntrySerializer
from subscriptions.filters import SUBSCRIPTION_FILTERS
from subscriptions.lifecycle import actions, desired_state, ip_allowlist, secrets
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.action_runner import Outcome, attempt
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.timeline import Timeline

SECONDS = 10.0  # that a request may spend on calls to the provider


@extend_schema(tags=["subscriptions"])
class SubscriptionViewSet(ApiViewSet):
    """The subscriptions: their desired configuration and their state at the provider."""

    scope: ClassVar[str | None] = "subscriptions"
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"secret": ("secrets:read",)}
    filters_of: ClassVar[Mapping[str, FilterSet]] = {"list": SUBSCRIPTION_FILTERS, "timeline": TIMELINE_FILTERS}
    live: ClassVar[frozenset[str]] = frozenset({"plan"})

    @extend_schema(operation_id="subscriptions_list", responses=SubscriptionSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List subscriptions, newest first."""
        return self.page(without_secrets(), SubscriptionSerializer)

    @extend_schema(
        operation_id="subscriptions_create", request=NewSubscriptionSerializer, responses={201: SubscriptionSerializer}
    )
    def create(self, request: Request) -> Response:
        """Create a subscription and try to register it.

        The answer is 201 even if the provider refuses: then `state` is `failing`, `last_error` says why, and
        registering is retried.
        """
        desired, quiet, networks = _split(self.body(NewSubscriptionSerializer))
        with transaction.atomic():
            subscription = desired_state.subscribe(**desired, by=self.by)
            desired_state.set_silence_rules(subscription, by=self.by, **quiet)
            desired_state.set_allowed_networks(subscription, by=self.by, allowed_networks=networks)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return subscription_response(subscription, status.HTTP_201_CREATED)

    @extend_schema(operation_id="subscriptions_read", responses=SubscriptionSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """Read one subscription, including a deleted one."""
        return subscription_response(self.find(without_secrets()))

    @extend_schema(
        operation_id="subscriptions_change",
        parameters=[IF_MATCH],
        request=SubscriptionChangesSerializer,
        responses=SubscriptionSerializer,
    )
    def partial_update(self, request: Request, **path: object) -> Response:
        """Change the configuration and try to apply it at the provider. `config` is replaced as a whole."""
        with transaction.atomic():
            subscription = self._locked()
            actions.check(subscription, SubscriptionAction.EDIT)
            changes = self.body(SubscriptionChangesSerializer, context={"subscription": subscription})
            self._check_version(subscription)
            desired, quiet, networks = _split(changes)
            if not desired.pop("block_senders", False) and networks:
                ip_allowlist.check_senders(subscription, networks)
            if desired:
                desired_state.change(subscription, by=self.by, **desired)
            desired_state.set_silence_rules(subscription, by=self.by, **quiet)
            desired_state.set_allowed_networks(subscription, by=self.by, allowed_networks=networks)
        attempt(subscription, SubscriptionAction.EDIT, by=self.by, seconds=SECONDS)
        return subscription_response(subscription)

    @extend_schema(operation_id="subscriptions_delete", parameters=[IF_MATCH], responses={202: SubscriptionSerializer})
    def destroy(self, request: Request, **path: object) -> Response:
        """Delete the subscription here and at the provider. It stays readable by its ID."""
        return subscription_response(self._act(SubscriptionAction.DELETE).row, status.HTTP_202_ACCEPTED)

    @extend_schema(
        operation_id="subscriptions_enable", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def enable(self, request: Request, **path: object) -> Response:
        """Enable the subscription. Enabling an enabled one changes nothing."""
        self.no_body()
        return subscription_response(self._act(SubscriptionAction.ENABLE).row)

    @extend_schema(
        operation_id="subscriptions_disable", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def disable(self, request: Request, **path: object) -> Response:
        """Disable the subscription at the provider. Events that still arrive are accepted."""
        self.no_body()
        return subscription_response(self._act(SubscriptionAction.DISABLE).row)

    @extend_schema(
        operation_id="subscriptions_renew", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def renew(self, request: Request, **path: object) -> Response:
        """Renew the lease now. 409 `not_supported` if subscriptions do not expire at this provider."""
        self.no_body()
        return subscription_response(self._act(SubscriptionAction.RENEW).row)

    @extend_schema(
        operation_id="subscriptions_reconcile", request=ReconcileSerializer, responses=SubscriptionSerializer
    )
    def reconcile(self, request: Request, **path: object) -> Response:
        """Sync the subscription, details included, and apply the whole plan, or only the named `steps` of it.

        409 `plan_changed` if the plan has changed since it was read; then nothing is done.
        """
        body = ReconcileSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        choice = body.choice()
        subscription = self.find(Subscription.objects.select_related("account"))
        actions.check(subscription, SubscriptionAction.RECONCILE)
        if choice is None:
            attempt(subscription, SubscriptionAction.RECONCILE, by=self.by, seconds=SECONDS)
        else:
            on_demand.apply_steps(subscription, choice, by=self.by, seconds=SECONDS)
        return subscription_response(subscription)

    @extend_schema(operation_id="subscriptions_plan", responses=PlanSerializer)
    def plan(self, request: Request, **path: object) -> Response:
        """Return what a reconciliation would do now. Reads the provider and changes nothing."""
        subscription = self.find(Subscription.objects.select_related("account"))
        return Response(PlanSerializer(preview(subscription, deadline=time.monotonic() + SECONDS)).data)

    @extend_schema(operation_id="subscriptions_test", request=None, responses=TestResultSerializer)
    def test(self, request: Request, **path: object) -> Response:
        """Make the provider send a test webhook. If it has no test call, check that our own receiver answers."""
        self.no_body()
        subscription = self.find(Subscription.objects.select_related("account"))
        actions.check(subscription, SubscriptionAction.TEST)
        with stored_input("config"):
            result = attempt(subscription, SubscriptionAction.TEST, by=self.by, seconds=SECONDS)
        return Response(TestResultSerializer({"ok": result.ok, "detail": result.text}).data)

    @extend_schema(operation_id="subscriptions_secret", request=None, responses=SecretSerializer)
    def secret(self, request: Request, **path: object) -> Response:
        """Return how inbound requests are authenticated. Revealing the secret is logged."""
        self.no_body()
        subscription = self.find(Subscription.objects.select_related("account"))
        with stored_input("settings"):
            hint = secrets.reveal(subscription, by=self.by)
        return Response(SecretSerializer(hint).data)

    @extend_schema(
        operation_id="subscriptions_rotate_secret",
        parameters=[IF_MATCH],
        request=RotateSecretSerializer,
        responses=SubscriptionSerializer,
    )
    def rotate_secret(self, request: Request, **path: object) -> Response:
        """Create a new secret and send it to the provider.

        The old one stays accepted until a request is authenticated with the new one, unless `revoke` is set.
        `secret_rotation` shows the progress. 409 `not_supported` if there is no secret, or if the provider
        creates it and the subscription is managed manually: then enter it.
        """
        revoke = bool(self.body(RotateSecretSerializer)["revoke"])
        return subscription_response(self._act(SubscriptionAction.ROTATE, revoke=revoke).row)

    @extend_schema(
        operation_id="subscriptions_forget", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def forget(self, request: Request, **path: object) -> Response:
        """Stop trying to delete the subscription at a provider that can never be reached again.

        A registration that is left there has to be deleted manually. 409 unless the subscription is `deleting`.
        """
        self.no_body()
        return subscription_response(self._act(SubscriptionAction.FORGET).row)

    @extend_schema(operation_id="subscriptions_enter_secret", request=EnterSecretSerializer, responses={204: None})
    def enter_secret(self, request: Request, **path: object) -> Response:
        """Store the secret of a manually managed subscription whose secret the provider creates. 409 for any other."""
        subscription = self.find(Subscription.objects.select_related("account"))
        body = self.body(EnterSecretSerializer)
        actions.enter_secret(subscription, str(body["value"]), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="subscriptions_operations", responses=OperationSerializer(many=True))
    def operations(self, request: Request, **path: object) -> Response:
        """List the operations at the provider, newest first, with secrets masked."""
        subscription: Subscription = self.find(Subscription.objects.only("uid"))
        return self.page(subscription.operations.all(), OperationSerializer)

    @extend_schema(operation_id="subscriptions_timeline", responses=EntrySerializer(many=True))
    def timeline(self, request: Request, **path: object) -> Response:
        """List the timeline of the subscription, newest first: operations, state changes, actions and problems."""
        subscription: Subscription = self.find(Subscription.objects.only("uid"))
        return self.page(Timeline(subscription), EntrySerializer)

    def _act(self, action: SubscriptionAction, *, revoke: bool = False) -> Outcome:
        """Apply an action and make a first attempt at the provider. Raises Conflict and PreconditionFailed."""
        with transaction.atomic():
            subscription = self._locked()
            self._check_version(subscription)
            actions.apply(subscription, action, by=self.by, revoke=revoke)
        return attempt(subscription, action, by=self.by, seconds=SECONDS)

    def _locked(self) -> Subscription:
        """Return the row, locked until the transaction ends, so that its version cannot change after it is checked."""
        rows: QuerySet[Subscription] = Subscription.objects.select_related("account").select_for_update(
            of=("self",), no_key=True
        )
        subscription: Subscription = self.find(rows)
        return subscription

    def _check_version(self, subscription: Subscription) -> None:
        check_if_match(self.request, subscription_etag(subscription))


def _split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str] | None]:
    """Return the parts of a body: the desired state, the silence rules, and the allowed networks."""
    desired = dict(body)
    networks = desired.pop("allowed_networks", None)
    quiet = {name: desired.pop(name) for name in body if name.startswith("quiet_")}
    return desired, quiet, networks


def subscription_response(subscription: Subscription, code: int = status.HTTP_200_OK) -> Response:
    """Return one subscription with its ETag."""
    shown = SubscriptionSerializer(subscription).data
    return Response(shown, status=code, headers={"ETag": subscription_etag(subscription)})


def without_secrets() -> QuerySet[Subscription]:
    """Return subscriptions with their accounts, without the encrypted columns, which no answer shows."""
    return Subscription.objects.select_related("account").defer("secrets", "account__credentials")
