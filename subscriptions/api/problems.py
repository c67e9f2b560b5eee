"""The endpoints below /problems/: reading, acknowledging and resolving problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from providers.filters import FilterSet
from providers.rest.fields import AnyJSONField, TimeField
from providers.rest.views import ApiViewSet
from subscriptions.filters import PROBLEM_FILTERS
from subscriptions.models import Problem, ProblemKind, ProblemState, Severity, SubjectType
from subscriptions.problems import detector, remediation


class ProblemSubjectSerializer(serializers.Serializer[Any]):
    """What a problem is about."""

    type = serializers.ChoiceField(choices=SubjectType.choices)
    id = serializers.UUIDField(allow_null=True, help_text="Null for the installation.")
    name = serializers.CharField()


class ProblemRecordSerializer(serializers.Serializer[Problem]):
    """A problem that needs attention. There is one per kind, subject and cause.

    It is not called `Problem` because that is the schema of an error in the API.
    """

    id = serializers.UUIDField(source="uid", read_only=True)
    kind = serializers.ChoiceField(choices=ProblemKind.choices, read_only=True)
    severity = serializers.ChoiceField(choices=Severity.choices, read_only=True)
    state = serializers.ChoiceField(choices=ProblemState.choices, read_only=True)
    subject = serializers.SerializerMethodField()
    account = serializers.UUIDField(source="account.uid", allow_null=True, default=None, read_only=True)
    subscription = serializers.UUIDField(source="subscription.uid", allow_null=True, default=None, read_only=True)
    message = serializers.CharField(read_only=True)
    action = serializers.SerializerMethodField(help_text="The next action.")
    action_url = serializers.SerializerMethodField(help_text="The dashboard page on which to do it.")
    sample = AnyJSONField(read_only=True, allow_null=True, help_text="Secrets are masked.")
    count = serializers.IntegerField(read_only=True, help_text="The number of attempts or requests.")
    reopened = serializers.IntegerField(read_only=True, help_text="How often it was reopened.")
    first_at = TimeField()
    opened_at = TimeField(help_text="When it was last opened or reopened.")
    last_at = TimeField(help_text="When it was last detected.")
    acknowledged_at = TimeField(allow_null=True)
    acknowledged_by = serializers.CharField(read_only=True)
    resolved_at = TimeField(allow_null=True)
    resolved_by = serializers.CharField(read_only=True, help_text="`clock` if it was resolved automatically.")

    @extend_schema_field(ProblemSubjectSerializer)
    def get_subject(self, row: Problem) -> dict[str, object]:
        """Return the subject of the problem."""
        return {"type": row.subject_type, "id": row.subject_id or None, "name": row.subject_name}

    def get_action(self, row: Problem) -> str:
        """Return the next action as a sentence."""
        return remediation.action_of(row)

    def get_action_url(self, row: Problem) -> str:
        """Return the URL of the dashboard page for the next action."""
        return f"{settings.PUBLIC_URL}{remediation.link_of(row)}"


@extend_schema(tags=["problems"])
class ProblemViewSet(ApiViewSet):
    """The problems. They are opened, raised in severity and resolved automatically."""

    scope: ClassVar[str | None] = "subscriptions"
    filters_of: ClassVar[Mapping[str, FilterSet]] = {"list": PROBLEM_FILTERS}

    @extend_schema(operation_id="problems_list", responses=ProblemRecordSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List problems, newest first, including resolved ones."""
        return self.page(_rows(), ProblemRecordSerializer)

    @extend_schema(operation_id="problems_read", responses=ProblemRecordSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """Read one problem."""
        return Response(ProblemRecordSerializer(self.find(_rows())).data)

    @extend_schema(operation_id="problems_acknowledge", request=None, responses=ProblemRecordSerializer)
    def acknowledge(self, request: Request, **path: object) -> Response:
        """Acknowledge a problem, which stops reminders. 409 if it is resolved."""
        self.no_body()
        problem = self.find(_rows())
        detector.acknowledge(problem, by=self.by)
        return Response(ProblemRecordSerializer(problem).data)

    @extend_schema(operation_id="problems_resolve", request=None, responses=ProblemRecordSerializer)
    def resolve(self, request: Request, **path: object) -> Response:
        """Resolve a problem.

        It is reopened if its cause still holds after 15 minutes. A problem about requests is reopened by the next one.
        """
        self.no_body()
        problem = self.find(_rows())
        detector.resolve(problem, by=self.by)
        return Response(ProblemRecordSerializer(problem).data)


def _rows() -> QuerySet[Problem]:
    """Return the problems with their accounts and subscriptions, without encrypted columns."""
    return Problem.objects.select_related("account", "subscription").defer(
        "account__credentials", "account__settings", "subscription__secrets", "subscription__config"
    )
