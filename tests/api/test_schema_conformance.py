"""Schemathesis against the live server: all responses conform to the OpenAPI document."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from pytest_django.live_server_helper import LiveServer
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from config.models import ApiToken
from events.models import Event
from events.processing import normalize
from providers.models import ProviderAccount
from subscriptions.api import accounts as account_views
from subscriptions.api import subscriptions as subscription_views
from subscriptions.lifecycle import desired_state, receiver_probe
from subscriptions.models import Channel, Problem, Subscription
from subscriptions.problems import detector
from subscriptions.reconciliation.reconciler import reconcile
from tests.api.conftest import UNKNOWN_ID
from tests.api.test_openapi import COMMITTED
from tests.harness.fake_provider import SECRET, store_request
from tests.harness.fixtures import CONFIG

# Generated for each operation. With API_EXAMPLES, as CI sets it, the systematic ones are tried as well.
EXAMPLES = int(os.environ.get("API_EXAMPLES", "2"))
CHANCE = random.Random(1)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the committed document, which test_openapi.py compares with the code."""
    return dict(yaml.load(COMMITTED.read_text(), Loader=yaml.CSafeLoader))


@pytest.fixture
def ids(transactional_db: None, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return the IDs that exist, by resource."""
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: None)
    for views in (account_views, subscription_views):
        monkeypatch.setattr(views, "SECONDS", 2.0)
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Finance")
    assert reconcile(subscription)
    manual = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed="manual")
    Subscription.objects.filter(pk=manual.pk).update(secrets=[SECRET])
    manual.refresh_from_db()
    requests = [
        store_request(manual, b'[{"eventId": "1", "eventType": "fs:add_file"}]'),
        store_request(manual, b"?", headers=()),
    ]
    normalize.normalize_pending()
    detector.detect()
    channel = Channel.objects.create(name="Ops", kind="email", recipients=["ops@example.com"])
    return {
        "problems": [str(uid) for uid in Problem.objects.values_list("uid", flat=True)],
        "channels": [str(channel.uid)],
        "accounts": [str(account.uid)],
        "subscriptions": [str(subscription.uid), str(manual.uid)],
        "requests": [str(request.uid) for request in requests],
        "events": [str(uid) for uid in Event.objects.values_list("uid", flat=True)],
        "providers": [account.provider],
    }


@pytest.fixture
def api_schema(document: dict[str, Any], live_server: LiveServer) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=live_server.url)
    schema.config.phases.coverage.enabled = "API_EXAMPLES" in os.environ
    return schema


lazy_schema = schemathesis.pytest.from_fixture("api_schema")


@pytest.fixture
def token(transactional_db: None) -> str:
    return ApiToken.issue("schemathesis")[1]


@pytest.mark.slow
@pytest.mark.timeout(900)  # all operations together, each with many examples
@lazy_schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_responses_conform_to_the_schema(
    case: schemathesis.Case[Any], token: str, ids: dict[str, list[str]], account: ProviderAccount
) -> None:
    # An earlier example may have changed them so that the provider calls of this one would fail.
    account.save(update_fields=["settings", "credentials"], force_update=True)
    use_existing_ids(case, ids)
    case.call_and_validate(
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
        # A provider's schema checks more than JSON Schema can say, and a cursor cannot be guessed.
        excluded_checks=[positive_data_acceptance],
    )


def use_existing_ids(case: schemathesis.Case[Any], ids: dict[str, list[str]]) -> None:
    """Use existing IDs, because random IDs would mostly return 404."""
    if not case.path_parameters or case.meta is None or case.meta.is_negative_at(ParameterLocation.PATH):
        return
    known = ids[case.operation.path.split("/")[3]]
    case.path_parameters = {name: CHANCE.choice([*known, *known, UNKNOWN_ID]) for name in case.path_parameters}
