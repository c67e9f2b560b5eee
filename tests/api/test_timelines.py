"""GET /subscriptions/{id}/timeline/ and /accounts/{id}/timeline/."""

from __future__ import annotations

import pytest

from subscriptions.lifecycle import desired_state
from subscriptions.models import Operation, Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def test_access(api: Api, anonymous: Api, with_scopes: Issue, active: Subscription, account_path: str) -> None:
    check_access(
        f"/subscriptions/{active.uid}/timeline/",
        "GET",
        anonymous=anonymous,
        wrong=with_scopes("accounts:write", "events:write"),
        scope="subscriptions:read",
        wrong_method="POST",
        api=api,
    )
    check_access(
        f"{account_path}timeline/",
        "GET",
        anonymous=anonymous,
        wrong=with_scopes("accounts:write"),
        scope="subscriptions:read",
        wrong_method="DELETE",
        api=api,
    )
    assert with_scopes("accounts:read", "subscriptions:read").get(f"{account_path}timeline/").status == 200
    assert with_scopes("subscriptions:read").get(f"/subscriptions/{active.uid}/timeline/").status == 200


def test_unknown_ids_and_invalid_parameters(api: Api, path: str) -> None:
    assert api.get(f"/subscriptions/{UNKNOWN_ID}/timeline/").status == 404
    assert api.get(f"/accounts/{UNKNOWN_ID}/timeline/").status == 404
    assert api.get(f"{path}timeline").status == 404
    for query, field in (("kind=bogus", "kind"), ("what=x", "what"), ("limit=0", "limit"), ("cursor=x", "cursor")):
        response = api.get(f"{path}timeline/?{query}")
        assert (response.status, set(response.fields())) == (400, {field})
    cursor = api.get("/subscriptions/?limit=1").json["next"]
    foreign = "bG4xMjM"  # the cursor of a list ordered by number
    assert cursor is None
    assert api.get(f"{path}timeline/?cursor={foreign}").status == 400


def test_lists_all_kinds_of_entries(api: Api, active: Subscription, account_path: str) -> None:
    api.post(f"/subscriptions/{active.uid}/disable/")
    page = api.get(f"/subscriptions/{active.uid}/timeline/").json
    assert set(page) == {"next", "previous", "results"}
    assert [(entry["kind"], entry["what"]) for entry in page["results"]] == [
        ("state", "became disabled"),
        ("operation", "disable"),
        ("action", "changed"),
        ("state", "became active"),
        ("operation", "register"),
        ("action", "created"),
    ]
    state, operation, action = page["results"][:3]
    assert state["changes"] == [{"field": "state", "from": "active", "to": "disabled"}]
    assert (state["actor"], state["status"], state["times"], state["last_at"]) == ("api:ci", "disabled", 1, None)
    assert operation["operation"] == str(Operation.objects.latest("pk").uid)
    assert operation["status"] == "succeeded"
    assert action["changes"] == [{"field": "enabled", "from": True, "to": False}]
    assert action["operation"] is None
    of_account = api.get(f"{account_path}timeline/").json["results"]
    assert of_account[:6] == page["results"]
    assert (of_account[-1]["what"], of_account[-1]["subscription"]) == ("created", None)
    assert "***" in str(of_account[-1]["changes"])


def test_pages_and_kinds(api: Api, active: Subscription) -> None:
    for number in range(5):
        desired_state.change(active, by="staff:ann", name=f"Name {number}")
    start = f"/subscriptions/{active.uid}/timeline/"
    everything = [entry["id"] for entry in api.get(start).json["results"]]
    first = api.get(f"{start}?limit=3").json
    second = api.get(first["next"]).json
    third = api.get(second["next"]).json
    pages = [[entry["id"] for entry in page["results"]] for page in (first, second, third)]
    assert pages == [everything[:3], everything[3:6], everything[6:]]
    assert (first["previous"], third["next"]) == (None, None)
    assert [entry["id"] for entry in api.get(third["previous"]).json["results"]] == everything[3:6]
    kinds = api.get(f"{start}?kind=operation&kind=state&limit=1").json
    assert kinds["results"][0]["kind"] == "state"
    assert "kind=operation&kind=state" in kinds["next"]
    assert api.get(kinds["next"]).json["results"][0]["kind"] == "operation"
    assert api.get(f"{start}?kind=secret").json["results"] == []
    assert api.post(f"/subscriptions/{active.uid}/secret/").status == 200
    (revealed,) = api.get(f"{start}?kind=secret").json["results"]
    assert (revealed["what"], revealed["actor"]) == ("secret revealed", "api:ci")
