#!/usr/bin/env python
"""Hookkeeper's command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run a management command. `up` generates missing secrets first: settings cannot be read without them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:
        from config.supervisor.secret_keys import ensure_secrets

        ensure_secrets()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
