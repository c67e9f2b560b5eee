"""/subscriptions/ and what can be done with one. What is changed here is wanted; `reconcile` does the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from providers.conflict import Conflict, NotSupported
from providers.rest.errors import stored_input
from providers.rest.filters import Filters
from providers.rest.views import ApiViewSet
from subscriptions.api.etags import IF_MATCH, check_if_match, subscription_etag
from subscriptions.api.filters import SubscriptionFilters
from subscriptions.api.subscription_serializers import (
    EnterSecretSerializer,
    NewSubscriptionSerializer,
    OperationSerializer,
    PlanSerializer,
    ReconcileSerializer,
    RotateSecretSerializer,
    SecretSerializer,
    SubscriptionChangesSerializer,
    SubscriptionSerializer,
    TestResultSerializer,
)
from subscriptions.api.timelines import EntrySerializer, TimelineFilters
from subscriptions.lifecycle import desired_state, secret_rotation, secrets
from subscriptions.models import Managed, Subscription
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.reconciler import preview, reconcile, reconcile_soon
from subscriptions.timeline import Timeline

SECONDS = 10.0  # that a request may spend at the provider


@extend_schema(tags=["subscriptions"])
class SubscriptionViewSet(ApiViewSet):
    """What we want registered at a provider, and how it stands there."""

    scope: ClassVar[str | None] = "subscriptions"
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"secret": ("secrets:read",)}
    filters_of: ClassVar[Mapping[str, type[Filters]]] = {"list": SubscriptionFilters, "timeline": TimelineFilters}
    live: ClassVar[frozenset[str]] = frozenset({"plan"})

    @extend_schema(operation_id="subscriptions_list", responses=SubscriptionSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Newest first."""
        return self.page(without_secrets(), SubscriptionSerializer)

    @extend_schema(
        operation_id="subscriptions_create", request=NewSubscriptionSerializer, responses={201: SubscriptionSerializer}
    )
    def create(self, request: Request) -> Response:
        """Makes one and tries to register it. 201 also when the provider refused: `state` is `failing` then,
        `last_error` says why, and it is tried again."""
        asked, expected, allowed = _split(self.body(NewSubscriptionSerializer))
        with transaction.atomic():
            subscription = desired_state.subscribe(**asked, by=self.by)
            desired_state.expect(subscription, by=self.by, **expected)
            desired_state.accept_from(subscription, by=self.by, allowed_networks=allowed)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return answer(subscription, status.HTTP_201_CREATED)

    @extend_schema(operation_id="subscriptions_read", responses=SubscriptionSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """One subscription; also one that was deleted."""
        return answer(self.find(without_secrets()))

    @extend_schema(
        operation_id="subscriptions_change",
        parameters=[IF_MATCH],
        request=SubscriptionChangesSerializer,
        responses=SubscriptionSerializer,
    )
    def partial_update(self, request: Request, **path: object) -> Response:
        """Changes what is wanted and tries it at the provider. `config` is replaced whole."""

        def change(subscription: Subscription) -> None:
            changes = self.body(SubscriptionChangesSerializer, context={"subscription": subscription})
            self._check_version(subscription)
            asked, expected, allowed = _split(changes)
            if asked:
                desired_state.change(subscription, by=self.by, **asked)
            desired_state.expect(subscription, by=self.by, **expected)
            desired_state.accept_from(subscription, by=self.by, allowed_networks=allowed)

        return self._changed(change)

    @extend_schema(operation_id="subscriptions_delete", parameters=[IF_MATCH], responses={202: SubscriptionSerializer})
    def destroy(self, request: Request, **path: object) -> Response:
        """Deletes it here and at the provider. It stays readable by its id."""
        with transaction.atomic():
            subscription = self._locked()
            self._check_version(subscription)
            if subscription.present:
                desired_state.remove(subscription, by=self.by)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return answer(subscription, status.HTTP_202_ACCEPTED)

    @extend_schema(
        operation_id="subscriptions_enable", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def enable(self, request: Request, **path: object) -> Response:
        """Switches it on."""
        return self._switched(enabled=True)

    @extend_schema(
        operation_id="subscriptions_disable", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def disable(self, request: Request, **path: object) -> Response:
        """Switches it off at the provider. What still comes is accepted."""
        return self._switched(enabled=False)

    @extend_schema(
        operation_id="subscriptions_renew", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def renew(self, request: Request, **path: object) -> Response:
        """Renews its lease now."""
        self.no_body()

        def renew(subscription: Subscription) -> None:
            _only_by_api(subscription)
            self._check_version(subscription)
            desired_state.renew_now(subscription, by=self.by)

        return self._changed(renew)

    @extend_schema(
        operation_id="subscriptions_reconcile", request=ReconcileSerializer, responses=SubscriptionSerializer
    )
    def reconcile(self, request: Request, **path: object) -> Response:
        """Looks at the provider, details included, and repairs what differs: all of it, or only the `steps` of the plan
        that are named. 409 `plan_changed` when it is another plan by now; then nothing was done."""
        asked = ReconcileSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        choice = asked.choice()
        subscription = self.find(Subscription.objects.select_related("account"))
        _only_undeleted(subscription)
        if choice is not None:
            on_demand.apply_chosen(subscription, choice, by=self.by, seconds=SECONDS)
            return answer(subscription)
        deadline = time.monotonic() + SECONDS
        if not reconcile(subscription, actor=self.by, deadline=deadline, details=True, insist=True):
            # Somebody else is at it: wait for our turn.
            reconcile_soon(subscription, actor=self.by, seconds=SECONDS, insist=True)
        return answer(subscription)

    @extend_schema(operation_id="subscriptions_plan", responses=PlanSerializer)
    def plan(self, request: Request, **path: object) -> Response:
        """What a reconciliation would do now. A live look that changes nothing."""
        subscription = self.find(Subscription.objects.select_related("account"))
        return Response(PlanSerializer(preview(subscription, deadline=time.monotonic() + SECONDS)).data)

    @extend_schema(operation_id="subscriptions_test", request=None, responses=TestResultSerializer)
    def test(self, request: Request, **path: object) -> Response:
        """Has the provider send a test webhook, or else tries our own receiver."""
        self.no_body()
        subscription = self.find(Subscription.objects.select_related("account"))
        _only_undeleted(subscription)
        with stored_input("config"):
            result = secrets.try_out(subscription, by=self.by, seconds=SECONDS)
        return Response(TestResultSerializer(result).data)

    @extend_schema(operation_id="subscriptions_secret", request=None, responses=SecretSerializer)
    def secret(self, request: Request, **path: object) -> Response:
        """How an inbound request proves itself. Every look is written to the history."""
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
        """Makes a new secret and brings it to the provider. The old one is accepted until a request was proved by the
        new one, or `revoke`d. `secret_rotation` says how far it is. 409 `not_supported` where there is no secret, or
        where the provider makes it and it was registered by hand: enter it then."""
        asked = self.body(RotateSecretSerializer)

        def rotate(subscription: Subscription) -> None:
            self._check_version(subscription)
            secret_rotation.rotate(subscription, by=self.by, revoke=bool(asked["revoke"]))

        return self._changed(rotate)

    @extend_schema(
        operation_id="subscriptions_forget", parameters=[IF_MATCH], request=None, responses=SubscriptionSerializer
    )
    def forget(self, request: Request, **path: object) -> Response:
        """Gives up on removing it at the provider, for one that stays `deleting` because the provider can never be
        reached again. Whatever is left there has to be removed there by hand. 409 in any other state."""
        self.no_body()
        with transaction.atomic():
            subscription = self._locked()
            self._check_version(subscription)
            desired_state.forget(subscription, by=self.by)
        return answer(subscription)

    @extend_schema(operation_id="subscriptions_enter_secret", request=EnterSecretSerializer, responses={204: None})
    def enter_secret(self, request: Request, **path: object) -> Response:
        """Keeps the secret of one that was registered by hand where the provider makes it. 409 for any other."""
        subscription = self.find(Subscription.objects.select_related("account"))
        asked = self.body(EnterSecretSerializer)
        secrets.enter_secret(subscription, str(asked["value"]), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="subscriptions_operations", responses=OperationSerializer(many=True))
    def operations(self, request: Request, **path: object) -> Response:
        """What was done at the provider, newest first, with secrets masked."""
        subscription: Subscription = self.find(Subscription.objects.only("uid"))
        return self.page(subscription.operations.all(), OperationSerializer)

    @extend_schema(operation_id="subscriptions_timeline", responses=EntrySerializer(many=True))
    def timeline(self, request: Request, **path: object) -> Response:
        """Everything that happened to it, newest first: operations, changes of state, what people and programs did."""
        subscription: Subscription = self.find(Subscription.objects.only("uid"))
        return self.page(Timeline(subscription), EntrySerializer)

    def _switched(self, *, enabled: bool) -> Response:
        self.no_body()

        def switch(subscription: Subscription) -> None:
            _only_by_api(subscription)
            self._check_version(subscription)
            desired_state.change(subscription, by=self.by, enabled=enabled)

        return self._changed(switch)

    def _changed(self, change: Callable[[Subscription], None]) -> Response:
        """Changes the wanted half, makes a first attempt at the provider, and answers whatever came of it."""
        with transaction.atomic():
            subscription = self._locked()
            _only_undeleted(subscription)
            change(subscription)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return answer(subscription)

    def _locked(self) -> Subscription:
        """The row, locked until the change is written: nobody changes it between the look at its version and then."""
        rows: QuerySet[Subscription] = Subscription.objects.select_related("account").select_for_update(
            of=("self",), no_key=True
        )
        subscription: Subscription = self.find(rows)
        return subscription

    def _check_version(self, subscription: Subscription) -> None:
        check_if_match(self.request, subscription_etag(subscription))


def _split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[str] | None]:
    """What is to be registered, what is expected of it, and where calls may come from."""
    asked = dict(body)
    allowed = asked.pop("allowed_networks", None)
    expected = {name: asked.pop(name) for name in body if name.startswith("quiet_")}
    return asked, expected, allowed


def answer(subscription: Subscription, code: int = status.HTTP_200_OK) -> Response:
    """One subscription, with its version."""
    shown = SubscriptionSerializer(subscription).data
    return Response(shown, status=code, headers={"ETag": subscription_etag(subscription)})


def without_secrets() -> QuerySet[Subscription]:
    """Subscriptions with their accounts, as far as they are shown: nothing has to be decrypted."""
    return Subscription.objects.select_related("account").defer("secrets", "account__credentials")


def _only_undeleted(subscription: Subscription) -> None:
    if not subscription.present:
        raise Conflict("The subscription was deleted.")


def _only_by_api(subscription: Subscription) -> None:
    if subscription.managed == Managed.MANUAL:
        raise NotSupported("This subscription is managed by hand: do it at the provider.")
