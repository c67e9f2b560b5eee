"""The Celery worker: the scheduler, the base class of tasks, the embedded broker."""
