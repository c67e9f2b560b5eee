"""Notify people of problems, by email or webhook."""
