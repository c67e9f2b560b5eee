"""The number of queries of a detection pass does not grow with the number of rows."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from subscriptions.models import Problem, Severity, State, Subscription
from subscriptions.problems import detector
from tests.problems.conftest import DAY, open_problems, set_lease

pytestmark = pytest.mark.slow


def test_healthy_rows_cost_no_additional_queries(row: Subscription) -> None:
    set_lease(row, left=0.1)
    open_problems()
    with CaptureQueriesContext(connection) as few:
        detector.detect()
    now = timezone.now()
    Subscription.objects.bulk_create(
        [
            Subscription(
                account=row.account,
                token=f"token-{number}",
                callback_url=f"http://x/hooks/token-{number}",
                state=State.ACTIVE,
                remote_id=f"r-{number}",
                granted=10 * DAY,
                expires_at=now + 9 * DAY,
                renew_at=now + 6 * DAY,
                due_at=None,
            )
            for number in range(500)
        ]
    )
    with CaptureQueriesContext(connection) as many:
        detector.detect()
    assert len(many) == len(few) <= 20
    assert open_problems() == [("expiring", "critical")]


def test_many_problems_are_opened_in_batches(row: Subscription) -> None:
    Subscription.objects.bulk_create(
        [
            Subscription(
                account=row.account,
                token=f"token-{number}",
                callback_url=f"http://x/hooks/token-{number}",
                state=State.MISSING,
                state_reason="Gone.",
                due_at=None,
            )
            for number in range(250)
        ]
    )
    with CaptureQueriesContext(connection) as queries:
        assert detector.detect().opened == 250
    assert len(queries) <= 42
    with CaptureQueriesContext(connection) as queries:
        assert detector.detect().opened == 0
    assert len(queries) <= 20
    Subscription.objects.update(state=State.ACTIVE)
    assert detector.detect().resolved == 250
    assert Severity(Problem.objects.values_list("severity", flat=True)[0]) is Severity.CRITICAL
