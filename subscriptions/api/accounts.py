"""/accounts/ and what can be done with one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from providers.accounts import session
from providers.contract.errors import NotFound
from providers.filters import FilterSet
from providers.models import ProviderAccount
from providers.rest.errors import sent_input
from providers.rest.filter_backend import read_flag_parameter
from providers.rest.views import ApiViewSet
from subscriptions.api.account_serializers import (
    AccountChangesSerializer,
    AccountSerializer,
    ImportSerializer,
    NewAccountSerializer,
    RemoteSubscriptionSerializer,
)
from subscriptions.api.etags import IF_MATCH, account_etag, check_if_match
from subscriptions.api.plan_serializers import AccountPlanSerializer, AccountResultSerializer
from subscriptions.api.subscription_serializers import SubscriptionSerializer
from subscriptions.api.subscriptions import answer as subscription_answer
from subscriptions.api.timelines import TIMELINE_FILTERS, EntrySerializer
from subscriptions.filters import ACCOUNT_FILTERS
from subscriptions.lifecycle import account_deletion, desired_state
from subscriptions.models import Subscription
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.remote import inventory, orphans
from subscriptions.timeline import Timeline

SECONDS = 10.0  # that a request may spend at the provider
LONGEST_REMOTE_ID = 200
REMOVE_SUBSCRIPTIONS = OpenApiParameter(
    "remove_subscriptions", bool, description="Removes its subscriptions first, at the provider too."
)


@extend_schema(tags=["accounts"])
class AccountViewSet(ApiViewSet):
    """One login at one provider each."""

    scope: ClassVar[str | None] = "accounts"
    # Importing makes a subscription, so seeing accounts is not enough for it, and changing them not needed.
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "take_in": ("accounts:read", "subscriptions:write"),
        "remove_orphan": ("accounts:read", "subscriptions:write"),
        "ignore": ("accounts:read", "subscriptions:write"),
        "stop_ignoring": ("accounts:read", "subscriptions:write"),
        "plan": ("subscriptions:read",),
        "reconcile": ("subscriptions:write",),
        "timeline": ("accounts:read", "subscriptions:read"),  # it tells of the subscriptions as well
    }
    filters_of: ClassVar[Mapping[str, FilterSet]] = {"list": ACCOUNT_FILTERS, "timeline": TIMELINE_FILTERS}
    live: ClassVar[frozenset[str]] = frozenset(
        {"remote_subscriptions", "remove_orphan", "take_in", "plan", "reconcile"}
    )

    @extend_schema(operation_id="accounts_list", responses=AccountSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Newest first."""
        return self.page(ProviderAccount.objects.select_related("purge").defer("credentials"), AccountSerializer)

    @extend_schema(operation_id="accounts_create", request=NewAccountSerializer, responses={201: AccountSerializer})
    def create(self, request: Request) -> Response:
        """Adds one. No call is made to the provider; `check` does that."""
        account = desired_state.add_account(**self.body(NewAccountSerializer), by=self.by)
        return answer(account, status.HTTP_201_CREATED)

    @extend_schema(operation_id="accounts_read", responses=AccountSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """One account, without its credentials."""
        return answer(self.find(ProviderAccount.objects.all()))

    @extend_schema(
        operation_id="accounts_change",
        parameters=[IF_MATCH],
        request=AccountChangesSerializer,
        responses=AccountSerializer,
    )
    def partial_update(self, request: Request, **path: object) -> Response:
        """Replaces `settings` whole and merges `credentials` by key. What failed because of them is tried again."""
        with transaction.atomic():
            account = self._locked()
            changes = self.body(AccountChangesSerializer, context={"account": account})
            check_if_match(request, account_etag(account))
            if changes:
                desired_state.change_account(account, by=self.by, **changes)
        return answer(account)

    @extend_schema(
        operation_id="accounts_delete",
        parameters=[IF_MATCH, REMOVE_SUBSCRIPTIONS],
        responses={204: None, 202: AccountSerializer},
    )
    def destroy(self, request: Request, **path: object) -> Response:
        """Removes one that has no subscriptions. With `remove_subscriptions=true` those are removed first, at the
        provider too: 202, and the account goes by itself when they are gone; `keep` takes that back."""
        together = read_flag_parameter(request, REMOVE_SUBSCRIPTIONS.name)
        with transaction.atomic():
            account = self._locked()
            check_if_match(request, account_etag(account))
            if not (together and account_deletion.living_of(account).exists()):
                desired_state.delete_account(account, by=self.by)
                return Response(status=status.HTTP_204_NO_CONTENT)
            account_deletion.leave(account, by=self.by)
        if account_deletion.go_on(account.pk):
            return Response(status=status.HTTP_204_NO_CONTENT)
        return answer(account, status.HTTP_202_ACCEPTED)

    @extend_schema(operation_id="accounts_keep", request=None, responses=AccountSerializer)
    def keep(self, request: Request, **path: object) -> Response:
        """Takes back that it is deleted together with its subscriptions. Those that are being removed already go all
        the same."""
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        account_deletion.stay(account, by=self.by)
        return answer(account)

    @extend_schema(operation_id="accounts_check", request=None, responses=AccountSerializer)
    def check(self, request: Request, **path: object) -> Response:
        """Asks the provider who we are. 200 also when it failed: `status` and `status_reason` tell."""
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        session.check(account, deadline=time.monotonic() + SECONDS, by=self.by)
        return answer(account)

    @extend_schema(operation_id="accounts_remote_subscriptions", responses=RemoteSubscriptionSerializer(many=True))
    def remote_subscriptions(self, request: Request, **path: object) -> Response:
        """What the account has at the provider now, whoever made it. A live call."""
        account = self.find(ProviderAccount.objects.all())
        self.page([], RemoteSubscriptionSerializer)  # refuses a wrong query string before the provider is asked
        found = inventory.discover(account, seconds=SECONDS)
        return self.page(sorted(found, key=lambda item: item.remote.remote_id), RemoteSubscriptionSerializer)

    @extend_schema(operation_id="accounts_remove_orphan", responses={204: None})
    def remove_orphan(self, request: Request, **path: object) -> Response:
        """Deletes an orphan at the provider: one with our URL or token that no subscription stands for. 409 for any
        other; whether it still is one is asked for right before. Both is written to the history."""
        account = self.find(ProviderAccount.objects.all())
        try:
            orphans.remove(account, self._remote_id(), by=self.by, seconds=SECONDS)
        except NotFound:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_ignore", request=None, responses={204: None})
    def ignore(self, request: Request, **path: object) -> Response:
        """Remembers that nobody needs to be shown this one again. Nothing changes at the provider, and no call is made:
        404 for one that was never seen there."""
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        try:
            orphans.ignore(account, self._remote_id(), by=self.by)
        except NotFound:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_stop_ignoring", responses={204: None})
    def stop_ignoring(self, request: Request, **path: object) -> Response:
        """Takes that back."""
        orphans.stop_ignoring(self.find(ProviderAccount.objects.all()), self._remote_id(), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_import", request=ImportSerializer, responses={201: SubscriptionSerializer})
    def take_in(self, request: Request, **path: object) -> Response:
        """Makes a subscription of a remote one that is not ours yet."""
        account = self.find(ProviderAccount.objects.all())
        asked = self.body(ImportSerializer)
        subscription = _take_in(account, asked, self.by)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return subscription_answer(subscription, status.HTTP_201_CREATED)

    @extend_schema(operation_id="accounts_plan", responses=AccountPlanSerializer)
    def plan(self, request: Request, **path: object) -> Response:
        """What a reconciliation of all its subscriptions would do now. A live look, by one list call, that changes
        nothing; details that a list does not carry are those that were read last."""
        account = self.find(ProviderAccount.objects.all())
        return Response(AccountPlanSerializer(on_demand.plan_account(account, deadline=_deadline())).data)

    @extend_schema(operation_id="accounts_reconcile", request=None, responses=AccountResultSerializer)
    def reconcile(self, request: Request, **path: object) -> Response:
        """Looks at the account once and does everything that is to be done for its subscriptions. What the time does
        not suffice for (`left`) the worker does."""
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        result = on_demand.apply_account(account, by=self.by, deadline=_deadline())
        return Response(AccountResultSerializer(result).data)

    @extend_schema(operation_id="accounts_timeline", responses=EntrySerializer(many=True))
    def timeline(self, request: Request, **path: object) -> Response:
        """Everything that happened to the account and its subscriptions, newest first."""
        account: ProviderAccount = self.find(ProviderAccount.objects.defer("credentials"))
        return self.page(Timeline(account), EntrySerializer)

    def _remote_id(self) -> str:
        """The one that the path names; what no provider can have is not there."""
        remote_id = str(self.kwargs["remote_id"])
        if len(remote_id) > LONGEST_REMOTE_ID or "\0" in remote_id:
            raise Http404
        return remote_id

    def _locked(self) -> ProviderAccount:
        """The row, locked until the change is written: nobody changes it between the look at its version and then."""
        rows: QuerySet[ProviderAccount] = ProviderAccount.objects.select_for_update()
        account: ProviderAccount = self.find(rows)
        return account


def answer(account: ProviderAccount, code: int = status.HTTP_200_OK) -> Response:
    """One account, with its version."""
    return Response(AccountSerializer(account).data, status=code, headers={"ETag": account_etag(account)})


def _deadline() -> float:
    return time.monotonic() + SECONDS


def _take_in(account: ProviderAccount, asked: Mapping[str, object], by: str) -> Subscription:
    remote_id = str(asked["remote_id"])
    try:
        with sent_input("config"):
            return inventory.take_in(
                account, remote_id, by=by, name=str(asked["name"]), take_over=bool(asked["take_over"])
            )
    except NotFound as error:
        raise ValidationError({"remote_id": [ErrorDetail(error.message, code="not_found")]}) from None
