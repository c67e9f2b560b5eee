"""The application of the measured web process: the product, or a floor that it is compared with (BENCH_MODE).

full     the product as it is
floor    the same door without the write: verify, parse, answer
insert   the same door, with one INSERT and one commit per request
create   one ORM `create` per request in a usual REST framework view with a serializer
"""

from __future__ import annotations

import os

from django.conf import settings

from config.wsgi import application
from events.receiver.group_commit import writer
from tests.bench import stores

__all__ = ["application"]

MODE = os.environ["BENCH_MODE"]
settings.NORMALIZE_IN_THREAD = os.environ["BENCH_NORMALIZE"] == "1"
if MODE == "floor":
    writer.store = stores.only_parse  # type: ignore[method-assign]
elif MODE == "insert":
    writer.store = stores.insert_alone  # type: ignore[method-assign]
elif MODE == "create":
    settings.ROOT_URLCONF = "tests.bench.usual_view"
    settings.BYPASS_PATHS = ("/livez",)
