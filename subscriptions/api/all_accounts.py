"""The endpoints /plan/ and /reconcile/: planning and reconciling all accounts."""

from __future__ import annotations

import time
from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from providers.rest.views import ApiViewSet
from subscriptions.api.plan_serializers import EverythingPlanSerializer, EverythingResultSerializer
from subscriptions.reconciliation import on_demand

SECONDS = 20.0  # that a request may spend on calls to all providers together


@extend_schema(tags=["subscriptions"])
class EverythingViewSet(ApiViewSet):
    """Planning and reconciling all accounts."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="plan", responses=EverythingPlanSerializer)
    def plan(self, request: Request) -> Response:
        """Return what a reconciliation of all accounts would do now.

        Makes one list call per account and changes nothing. `trouble` says why an account could not be synced.
        """
        plans = list(on_demand.plan_everything(deadline=time.monotonic() + SECONDS))
        return Response(EverythingPlanSerializer({"accounts": plans}).data)

    @extend_schema(operation_id="reconcile", request=None, responses=EverythingResultSerializer)
    def reconcile(self, request: Request) -> Response:
        """Sync every account once and apply the plans. What does not fit in the time limit is left to the worker."""
        self.no_body()
        results = list(on_demand.apply_everything(by=self.by, deadline=time.monotonic() + SECONDS))
        return Response(EverythingResultSerializer({"accounts": results}).data)
