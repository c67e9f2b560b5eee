"""Plug-ins import neither each other nor Django; import-linter cannot check this without a list of plug-ins."""

from __future__ import annotations

import grimp
import pytest

from providers.contract.registry import all_providers

PLUGINS = [slug.replace("-", "_") for slug in all_providers()]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("providers", include_external_packages=True, cache_dir=None)


def test_plug_ins_are_found() -> None:
    assert PLUGINS


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plug_in_imports_no_other_plug_in_and_no_django(graph: grimp.ImportGraph, plugin: str) -> None:
    package = f"providers.{plugin}"
    graph = graph.copy() if hasattr(graph, "copy") else graph
    foreign = {f"providers.{other}" for other in PLUGINS if other != plugin} | {"django", "celery", "providers.models"}
    modules = (
        {package, *graph.find_descendants(package)} - graph.find_descendants(f"{package}.tests") - {f"{package}.tests"}
    )
    imported = set().union(*(graph.find_upstream_modules(module) for module in modules))
    assert {
        module for module in imported if any(module == name or module.startswith(f"{name}.") for name in foreign)
    } == set()
