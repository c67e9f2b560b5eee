"""The lookup `pk__among=keys` finds the same rows as `pk__in=keys`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from events.models import WebhookRequest
from providers.db.ids import new_id
from subscriptions.models import Subscription
from tests.harness.fake_provider import store_request


@pytest.mark.parametrize("kind", [set, frozenset, list, tuple])
def test_among_finds_numbers_and_uuids(hook: Subscription, kind: type[Collection[Any]]) -> None:
    rows = [store_request(hook, b"") for _ in range(4)]
    for column in ("pk", "uid"):
        keys = kind([getattr(row, column) for row in rows[1:3]])  # type: ignore[call-arg]
        rows_found = WebhookRequest.objects.filter(**{f"{column}__among": keys})
        assert {row.pk for row in rows_found} == {row.pk for row in rows[1:3]}
        assert {row.pk for row in WebhookRequest.objects.exclude(**{f"{column}__among": keys})} == {
            rows[0].pk,
            rows[3].pk,
        }


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize(("column", "keys"), [("pk", []), ("uid", []), ("pk", [0]), ("uid", [new_id()])])
def test_among_without_matches_finds_nothing(column: str, keys: list[Any]) -> None:
    assert not WebhookRequest.objects.filter(**{f"{column}__among": frozenset(keys)}).exists()


def test_among_takes_more_keys_than_the_database_takes_parameters(hook: Subscription) -> None:
    row = store_request(hook, b"")
    keys = frozenset(range(row.pk, row.pk + 300_000))
    assert WebhookRequest.objects.filter(pk__among=keys).update(reason="seen") == 1
