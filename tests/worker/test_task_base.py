"""Publishing to an unreachable broker neither raises nor delays the caller."""

from __future__ import annotations

import time

import pytest
from celery import Celery

from config.tasks import worker_heartbeat
from config.worker.task_base import WakeUpTask, broker_pause


@pytest.fixture(autouse=True)
def no_pause() -> None:
    broker_pause.end()


def make_task(broker: str) -> WakeUpTask:
    app = Celery("test", task_cls=WakeUpTask, set_as_current=False)
    app.conf.update(broker_write_url=broker, task_publish_retry=False, broker_transport_options={"max_retries": 0})

    @app.task(name="job", shared=False)
    def job() -> None:
        """Do nothing."""

    task = app.tasks["job"]
    assert isinstance(task, WakeUpTask)
    return task


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://guest@127.0.0.1:1//"])
def test_an_unreachable_broker_neither_raises_nor_blocks(broker: str) -> None:
    task = make_task(broker)
    start = time.monotonic()
    assert [task.delay() for _ in range(50)] == [None] * 50
    assert time.monotonic() - start < 20  # waiting for the broker would take forever
    broker_pause.end()


def test_publishing_is_tried_again_after_the_pause() -> None:
    broker_pause.begin()
    assert make_task("memory://").delay() is None
    broker_pause.end()
    assert make_task("memory://").delay() is not None


def test_a_programming_error_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        make_task("memory://").delay(object())


def test_all_tasks_use_the_base_class() -> None:
    assert isinstance(worker_heartbeat, WakeUpTask)
