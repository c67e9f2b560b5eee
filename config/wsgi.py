"""The web server's entry: granian loads `config.wsgi:application`."""

from __future__ import annotations

import multiprocessing
import os

from django.core.wsgi import get_wsgi_application

from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

parent = multiprocessing.parent_process()
if parent is not None and parent.pid is not None and os.environ.get("HOOKKEEPER_SUPERVISED"):
    # granian serves from a child process of its own, which `manage.py up` cannot reach when granian is killed.
    die_with_parent(parent.pid)

application = get_wsgi_application()

from config.watch import watch  # noqa: E402  # these need the apps to be ready
from events.receiver import prepare  # noqa: E402

prepare()
watch.start()
