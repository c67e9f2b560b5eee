"""The provider table in the docs matches the plug-ins' declarations."""

from __future__ import annotations

from pathlib import Path

from providers.contract.capability_table import as_markdown, rows
from providers.contract.registry import all_providers

ROOT = Path(__file__).resolve().parents[2]


def test_the_provider_docs_match_the_declarations() -> None:
    page = (ROOT / "docs" / "providers.md").read_text("utf-8")
    assert page == as_markdown(all_providers().values()), "run `make docs`"


def test_every_provider_has_a_value_for_every_capability() -> None:
    for row in rows(all_providers().values()):
        assert len(row.values) == len(all_providers())
        assert all(row.values), row.capability


def test_every_provider_has_a_readme() -> None:
    for slug in all_providers():
        assert (ROOT / "providers" / slug.replace("-", "_") / "README.md").is_file()
