"""/plan/ and /reconcile/: over all accounts."""

from __future__ import annotations

import time
from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from providers.rest.views import ApiViewSet
from subscriptions.api.plan_serializers import EverythingPlanSerializer, EverythingResultSerializer
from subscriptions.reconciliation import on_demand

SECONDS = 20.0  # that a request may spend at all providers together


@extend_schema(tags=["subscriptions"])
class EverythingViewSet(ApiViewSet):
    """What is to be done anywhere."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="plan", responses=EverythingPlanSerializer)
    def plan(self, request: Request) -> Response:
        """What a reconciliation of everything would do now. A live look, by one list call an account, that changes
        nothing; `trouble` says which accounts could not be looked at."""
        plans = list(on_demand.plan_everything(deadline=time.monotonic() + SECONDS))
        return Response(EverythingPlanSerializer({"accounts": plans}).data)

    @extend_schema(operation_id="reconcile", request=None, responses=EverythingResultSerializer)
    def reconcile(self, request: Request) -> Response:
        """Looks at every account once and does everything that is to be done. What the time does not suffice for the
        worker does."""
        self.no_body()
        results = list(on_demand.apply_everything(by=self.by, deadline=time.monotonic() + SECONDS))
        return Response(EverythingResultSerializer({"accounts": results}).data)
