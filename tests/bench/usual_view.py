"""The usual implementation as a floor: a REST framework view, a serializer, and one ORM `create` per request."""

from __future__ import annotations

from typing import Any

from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.parsers import JSONParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.monitoring import health
from events.models import Outcome, VerificationState, WebhookRequest
from subscriptions.models import Subscription


class _Events(serializers.Serializer[Any]):
    """The fields that are validated."""

    eventId = serializers.CharField()  # noqa: N815  # the provider's name
    eventType = serializers.CharField()  # noqa: N815
    domain = serializers.CharField()
    timestamp = serializers.IntegerField()
    user = serializers.DictField()


class UsualView(APIView):
    """Finds the subscription, compares the secret, validates, and creates a row."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (JSONParser,)

    def post(self, request: Request, token: str) -> Response:
        """Store one request."""
        subscription = Subscription.objects.select_related("account").get(token=token)
        if request.headers.get("Authorization") != subscription.secrets[0]:
            return Response(status=401)
        content = request.body
        events = _Events(data=request.data, many=True)
        events.is_valid(raise_exception=True)
        WebhookRequest.objects.create(
            account=subscription.account,
            subscription=subscription,
            method="POST",
            received_at=timezone.now(),
            headers=list(request.headers.items()),
            body=content,
            size=len(content),
            verification=VerificationState.VERIFIED,
            outcome=Outcome.RECEIVED,
        )
        return Response()


urlpatterns = [path("hooks/<str:token>", UsualView.as_view()), path("livez", health.livez)]
