"""/providers/ and /providers/{slug}/."""

from __future__ import annotations

import pytest

from providers.contract.registry import all_providers
from tests.api.conftest import Api, Issue

pytestmark = pytest.mark.django_db


def test_the_list_has_every_provider_by_name(api: Api) -> None:
    response = api.get("/providers/")
    assert response.status == 200
    assert (response.json["next"], response.json["previous"]) == (None, None)
    assert [item["slug"] for item in response.json["results"]] == list(all_providers())


@pytest.mark.parametrize("slug", list(all_providers()))
def test_a_provider_shows_capabilities_and_schemas(api: Api, slug: str) -> None:
    plugin = all_providers()[slug]
    data = api.get(f"/providers/{slug}/").json
    assert set(data) == {"slug", "name", "capabilities", "event_types", "schemas"}
    assert (data["slug"], data["name"]) == (slug, plugin.name)
    assert data["capabilities"]["renewal"] == plugin.capabilities.renewal
    assert data["capabilities"]["methods"] == list(plugin.capabilities.methods)
    assert len(data["event_types"]) == len(plugin.event_types)
    assert set(data["schemas"]) == {"settings", "credentials", "config"}
    assert "base_url" in data["schemas"]["settings"]["properties"]


def test_the_list_is_paged(api: Api) -> None:
    seen, url = [], "/providers/?limit=1"
    while url:
        page = api.get(url).json
        seen += [item["slug"] for item in page["results"]]
        url = page["next"]
    assert seen == list(all_providers())


def test_any_token_may_read(with_scopes: Issue, anonymous: Api) -> None:
    assert with_scopes().get("/providers/").status == 200
    assert anonymous.get("/providers/").status == 401


def test_unknown_providers_are_404_and_unknown_parameters_400(api: Api) -> None:
    assert api.get("/providers/nobody/").status == 404
    assert api.get("/providers/?slug=x").fields() == {"slug": "unknown"}
    assert api.post("/providers/egnyte-connect/", {}).status == 405
