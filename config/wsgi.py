"""The web server's entry: granian loads `config.wsgi:application`."""

from __future__ import annotations

import gc
import multiprocessing
import os
from typing import Any

import django
from django.conf import settings
from django.urls import resolve

from config.supervisor.parent_death import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

parent = multiprocessing.parent_process()
if parent is not None and parent.pid is not None and os.environ.get("HOOKKEEPER_SUPERVISED"):
    # granian serves from a child process of its own, which `manage.py up` cannot reach when granian is killed.
    die_with_parent(parent.pid)

django.setup(set_prefix=False)

# These need the apps to be ready.
from config.monitoring.problem_monitor import watch  # noqa: E402
from config.monitoring.watchdog import guard  # noqa: E402
from config.web.bypass_middleware import HookHandler  # noqa: E402
from config.web.deferred_answer import defer_answers  # noqa: E402
from config.web.receiver_entry import HookDoor  # noqa: E402
from events.receiver.handler import prepare  # noqa: E402

application: Any = HookHandler()
if settings.RECEIVER_DOOR == "WSGI":
    application = HookDoor(application)
defer_answers()
prepare()
watch.start()
guard.start()

# Python looks for garbage among all objects now and then, and everything stands still meanwhile: a tenth of a second
# for those that are loaded here and stay. So they are loaded now, and not looked at again.
resolve("/livez")
gc.collect()
gc.freeze()
