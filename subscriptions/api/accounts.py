"""The endpoints below /accounts/: accounts and their remote subscriptions."""

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
from subscriptions.api.subscriptions import subscription_response
from subscriptions.api.timelines import TIMELINE_FILTERS, EntrySerializer
from subscriptions.filters import ACCOUNT_FILTERS
from subscriptions.lifecycle import account_deletion, accounts
from subscriptions.models import Subscription
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.remote import adoption, inventory, orphans
from subscriptions.timeline import Timeline

SECONDS = 10.0  # that a request may spend on calls to the provider
MAX_REMOTE_ID_LENGTH = 200
DELETE_SUBSCRIPTIONS = OpenApiParameter(
    "remove_subscriptions", bool, description="Delete its subscriptions first, at the provider too."
)


@extend_schema(tags=["accounts"])
class AccountViewSet(ApiViewSet):
    """The accounts. Each is one login at one provider."""

    scope: ClassVar[str | None] = "accounts"
    # An import creates a subscription: it needs to read accounts, but not to change them.
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "import_remote": ("accounts:read", "subscriptions:write"),
        "remove_orphan": ("accounts:read", "subscriptions:write"),
        "ignore": ("accounts:read", "subscriptions:write"),
        "stop_ignoring": ("accounts:read", "subscriptions:write"),
        "plan": ("subscriptions:read",),
        "reconcile": ("subscriptions:write",),
        "timeline": ("accounts:read", "subscriptions:read"),  # it includes the entries of the subscriptions
    }
    filters_of: ClassVar[Mapping[str, FilterSet]] = {"list": ACCOUNT_FILTERS, "timeline": TIMELINE_FILTERS}
    live: ClassVar[frozenset[str]] = frozenset(
        {"remote_subscriptions", "remove_orphan", "import_remote", "plan", "reconcile"}
    )

    @extend_schema(operation_id="accounts_list", responses=AccountSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List accounts, newest first."""
        return self.page(ProviderAccount.objects.select_related("purge").defer("credentials"), AccountSerializer)

    @extend_schema(operation_id="accounts_create", request=NewAccountSerializer, responses={201: AccountSerializer})
    def create(self, request: Request) -> Response:
        """Create an account. No call is made to the provider; use `check` for that."""
        account = accounts.add_account(**self.body(NewAccountSerializer), by=self.by)
        return account_response(account, status.HTTP_201_CREATED)

    @extend_schema(operation_id="accounts_read", responses=AccountSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """Read one account, without its credentials."""
        return account_response(self.find(ProviderAccount.objects.all()))

    @extend_schema(
        operation_id="accounts_change",
        parameters=[IF_MATCH],
        request=AccountChangesSerializer,
        responses=AccountSerializer,
    )
    def partial_update(self, request: Request, **path: object) -> Response:
        """Change an account: `settings` are replaced as a whole, `credentials` are merged by key.

        Failed subscriptions are retried.
        """
        with transaction.atomic():
            account = self._locked()
            changes = self.body(AccountChangesSerializer, context={"account": account})
            check_if_match(request, account_etag(account))
            if changes:
                accounts.change_account(account, by=self.by, **changes)
        return account_response(account)

    @extend_schema(
        operation_id="accounts_delete",
        parameters=[IF_MATCH, DELETE_SUBSCRIPTIONS],
        responses={204: None, 202: AccountSerializer},
    )
    def destroy(self, request: Request, **path: object) -> Response:
        """Delete an account without subscriptions.

        With `remove_subscriptions=true` its subscriptions are deleted first, at the provider too. The answer is then
        202, and the account is deleted after them. `keep` cancels this.
        """
        with_subscriptions = read_flag_parameter(request, DELETE_SUBSCRIPTIONS.name)
        with transaction.atomic():
            account = self._locked()
            check_if_match(request, account_etag(account))
            if not (with_subscriptions and account_deletion.remaining_subscriptions(account).exists()):
                accounts.delete_account(account, by=self.by)
                return Response(status=status.HTTP_204_NO_CONTENT)
            account_deletion.request_deletion(account, by=self.by)
        if account_deletion.continue_deletion(account.pk):
            return Response(status=status.HTTP_204_NO_CONTENT)
        return account_response(account, status.HTTP_202_ACCEPTED)

    @extend_schema(operation_id="accounts_keep", request=None, responses=AccountSerializer)
    def keep(self, request: Request, **path: object) -> Response:
        """Cancel the deletion of an account with its subscriptions.

        Subscriptions whose deletion has already started are still deleted.
        """
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        account_deletion.cancel_deletion(account, by=self.by)
        return account_response(account)

    @extend_schema(operation_id="accounts_check", request=None, responses=AccountSerializer)
    def check(self, request: Request, **path: object) -> Response:
        """Check the credentials with the provider. 200 even if it rejects them: see `status` and `status_reason`."""
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        session.check(account, deadline=time.monotonic() + SECONDS, by=self.by)
        return account_response(account)

    @extend_schema(operation_id="accounts_remote_subscriptions", responses=RemoteSubscriptionSerializer(many=True))
    def remote_subscriptions(self, request: Request, **path: object) -> Response:
        """List all remote subscriptions of the account, including those of others. Calls the provider."""
        account = self.find(ProviderAccount.objects.all())
        self.page([], RemoteSubscriptionSerializer)  # refuses an invalid query string before the provider is called
        items = inventory.list_remotes(account, seconds=SECONDS)
        return self.page(sorted(items, key=lambda item: item.remote.remote_id), RemoteSubscriptionSerializer)

    @extend_schema(operation_id="accounts_remove_orphan", responses={204: None})
    def remove_orphan(self, request: Request, **path: object) -> Response:
        """Delete an orphan at the provider: a remote subscription with our URL or token, but no subscription here.

        409 for any other. The ownership is checked right before the call; the attempt and its result are logged.
        """
        account = self.find(ProviderAccount.objects.all())
        try:
            orphans.delete_orphan(account, self._remote_id(), by=self.by, seconds=SECONDS)
        except NotFound:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_ignore", request=None, responses={204: None})
    def ignore(self, request: Request, **path: object) -> Response:
        """Hide a remote subscription.

        Nothing changes at the provider, and no call is made: 404 for a remote ID that was never listed.
        """
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        try:
            orphans.ignore(account, self._remote_id(), by=self.by)
        except NotFound:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_stop_ignoring", responses={204: None})
    def stop_ignoring(self, request: Request, **path: object) -> Response:
        """Show a hidden remote subscription again."""
        orphans.stop_ignoring(self.find(ProviderAccount.objects.all()), self._remote_id(), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="accounts_import", request=ImportSerializer, responses={201: SubscriptionSerializer})
    def import_remote(self, request: Request, **path: object) -> Response:
        """Create a subscription for a remote subscription that is not managed yet."""
        account = self.find(ProviderAccount.objects.all())
        body = self.body(ImportSerializer)
        subscription = _import(account, body, self.by)
        reconcile_soon(subscription, actor=self.by, seconds=SECONDS)
        return subscription_response(subscription, status.HTTP_201_CREATED)

    @extend_schema(operation_id="accounts_plan", responses=AccountPlanSerializer)
    def plan(self, request: Request, **path: object) -> Response:
        """Return what a reconciliation of all its subscriptions would do now.

        Makes one list call and changes nothing. Details that the list does not contain are those of the last read.
        """
        account = self.find(ProviderAccount.objects.all())
        return Response(AccountPlanSerializer(on_demand.plan_account(account, deadline=_deadline())).data)

    @extend_schema(operation_id="accounts_reconcile", request=None, responses=AccountResultSerializer)
    def reconcile(self, request: Request, **path: object) -> Response:
        """Sync the account once and apply the plans of its subscriptions.

        Subscriptions that do not fit in the time limit (`left`) are reconciled by the worker.
        """
        self.no_body()
        account = self.find(ProviderAccount.objects.all())
        result = on_demand.apply_account(account, by=self.by, deadline=_deadline())
        return Response(AccountResultSerializer(result).data)

    @extend_schema(operation_id="accounts_timeline", responses=EntrySerializer(many=True))
    def timeline(self, request: Request, **path: object) -> Response:
        """List the timeline of the account and its subscriptions, newest first."""
        account: ProviderAccount = self.find(ProviderAccount.objects.defer("credentials"))
        return self.page(Timeline(account), EntrySerializer)

    def _remote_id(self) -> str:
        """Return the remote ID from the path. Raises Http404 if it is too long or contains a null character."""
        remote_id = str(self.kwargs["remote_id"])
        if len(remote_id) > MAX_REMOTE_ID_LENGTH or "\0" in remote_id:
            raise Http404
        return remote_id

    def _locked(self) -> ProviderAccount:
        """Return the row, locked until the transaction ends, so that its version cannot change after it is checked."""
        rows: QuerySet[ProviderAccount] = ProviderAccount.objects.select_for_update()
        account: ProviderAccount = self.find(rows)
        return account


def account_response(account: ProviderAccount, code: int = status.HTTP_200_OK) -> Response:
    """Return one account with its ETag."""
    return Response(AccountSerializer(account).data, status=code, headers={"ETag": account_etag(account)})


def _deadline() -> float:
    return time.monotonic() + SECONDS


def _import(account: ProviderAccount, body: Mapping[str, object], by: str) -> Subscription:
    remote_id = str(body["remote_id"])
    try:
        with sent_input("config"):
            return adoption.import_remote(
                account, remote_id, by=by, name=str(body["name"]), take_over=bool(body["take_over"])
            )
    except NotFound as error:
        raise ValidationError({"remote_id": [ErrorDetail(error.message, code="not_found")]}) from None
