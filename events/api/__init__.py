"""The REST API of requests and events."""
