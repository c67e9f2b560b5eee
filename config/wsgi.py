"""The web server's entry point: granian loads `config.wsgi:application`."""

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
    # granian serves from a child process, which `manage.py up` cannot reach after granian was killed.
    die_with_parent(parent.pid)

django.setup(set_prefix=False)

# These need the apps to be ready.
from config.monitoring.problem_monitor import problem_monitor  # noqa: E402
from config.monitoring.watchdog import watchdog  # noqa: E402
from config.web.bypass_middleware import ReceiverWSGIHandler  # noqa: E402
from config.web.deferred_response import defer_responses  # noqa: E402
from config.web.receiver_entry import ReceiverEntry  # noqa: E402
from config.worker.scheduler import exit_with_wrong_keys  # noqa: E402
from events.receiver.handler import prepare_to_receive  # noqa: E402

exit_with_wrong_keys()
application: Any = ReceiverWSGIHandler()
if settings.RECEIVER_ENTRY == "WSGI":
    application = ReceiverEntry(application)
defer_responses()
prepare_to_receive()
problem_monitor.start()
watchdog.start()

# With all modules loaded, a full garbage collection stops every thread for a tenth of a second. So modules are loaded
# now, and their objects are excluded from later collections.
resolve("/livez")
gc.collect()
gc.freeze()
