"""Egnyte Connect ("Collaborate"): file, link, comment, metadata, workflow, group and permission events."""

from providers.egnyte_connect.provider import EgnyteConnect

provider = EgnyteConnect()
