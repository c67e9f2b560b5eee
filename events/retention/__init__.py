"""Deletion of old requests and events."""
