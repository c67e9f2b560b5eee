"""Find the plug-ins: every sub-package of `providers` with a `provider` module. There is no list to maintain."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from providers.contract.base import AnyProvider


class UnknownProvider(LookupError):
    """No plug-in has this slug."""


@cache
def all_providers() -> dict[str, AnyProvider]:
    """Return every plug-in by slug, in the order of their names."""
    plugins: dict[str, AnyProvider] = {}
    root = Path(__file__).parent.parent
    for module in pkgutil.iter_modules([str(root)]):
        if module.ispkg and (root / module.name / "provider.py").is_file():
            plugin: AnyProvider = importlib.import_module(f"providers.{module.name}").provider
            if plugin.slug.replace("-", "_") != module.name:
                raise RuntimeError(
                    f"providers/{module.name} declares the slug {plugin.slug!r}; folder and slug differ."
                )
            plugins[plugin.slug] = plugin
    return dict(sorted(plugins.items(), key=lambda item: item[1].name))


def get_provider(slug: str) -> AnyProvider:
    """Return the plug-in with that slug. Raises UnknownProvider, which names those that exist."""
    try:
        return all_providers()[slug]
    except KeyError:
        raise UnknownProvider(
            f"There is no provider {slug!r}. Known providers: {', '.join(all_providers())}."
        ) from None
