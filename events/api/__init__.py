"""The REST API for requests and events."""
