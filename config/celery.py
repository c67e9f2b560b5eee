"""Celery: the app, its routes, and the schedule of periodic tasks."""

from __future__ import annotations

import logging.config
import os
import warnings
from typing import Any

from celery import Celery, signals
from django.conf import settings
from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from config.worker.scheduler import SchedulerStep
from config.worker.task_base import WakeUpTask

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
TRANSPORT_ALIASES["embedded"] = "config.worker.embedded_broker:Transport"

# The warning is about pickled messages, which are not accepted.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

# Every entry runs in every worker, so its task must be idempotent and claim the rows it works on. Seconds count from
# start to start; a run that takes longer delays the next one instead of overlapping it.
SCHEDULE: dict[str, dict[str, Any]] = {
    "sweep": {"task": "subscriptions.tasks.sweep", "schedule": 2.0},
    "heartbeat": {"task": "subscriptions.tasks.beat_heartbeat", "schedule": 5.0},
    "ask-worker": {"task": "config.tasks.ask_worker", "schedule": 5.0},
    "detect-problems": {"task": "subscriptions.tasks.detect_problems", "schedule": 5.0},
    "drain-spool": {"task": "events.tasks.drain_spool", "schedule": 5.0},
    "forget-rejected": {"task": "events.tasks.forget_rejected", "schedule": 60.0},
    "watch-silence": {"task": "events.tasks.watch", "schedule": 20.0},
    "purge": {"task": "events.tasks.purge", "schedule": 60.0},
    "notify-people": {"task": "subscriptions.tasks.notify_people", "schedule": 5.0},
    "normalise-pending": {"task": "events.tasks.normalise_pending", "schedule": 1.0},
}


class GuardedTask(WakeUpTask):
    """A task that runs only with the ENCRYPTION_KEYS of the database, also if that was down at the start."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task."""
        from providers.accounts import encryption_keys  # the apps are not ready when this module is imported

        encryption_keys.require()
        return super().__call__(*args, **kwargs)


app = Celery("hookkeeper", task_cls=GuardedTask)
app.conf.update(
    # Not broker_url: Celery reads an environment variable of that name itself, without `.env`.
    broker_read_url=settings.CELERY_BROKER_URL,
    broker_write_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # unlimited
    broker_connection_timeout=2,
    broker_transport_options={
        "folder": str(settings.DATA_DIR / "broker"),
        "polling_interval": 0.2,
        "socket_connect_timeout": 2,
        "socket_timeout": 2,
        # For publishers, which must never wait for a broker; a worker's retries are set above.
        "max_retries": 0,
    },
    beat_schedule=SCHEDULE,
    task_default_queue="default",
    task_queues=[Queue("default"), Queue("events"), Queue("subscriptions")],
    task_routes={"events.*": {"queue": "events"}, "subscriptions.*": {"queue": "subscriptions"}},
    task_ignore_result=True,
    task_publish_retry=False,
    task_send_sent_event=False,
    task_acks_late=False,
    timezone="UTC",
    worker_pool="threads",
    worker_concurrency=4,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)
app.steps["worker"].add(SchedulerStep)
app.autodiscover_tasks()


@signals.setup_logging.connect
def use_our_logging(**_: object) -> None:
    """Keep the log format of the settings, which Celery would replace."""
    logging.config.dictConfig(settings.LOGGING)
