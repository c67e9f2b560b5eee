"""Health checks, metrics, logs, and what watches the processes themselves."""
