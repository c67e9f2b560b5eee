"""Health checks, metrics, log format, and monitors of the processes."""
