"""Rows, bodies and bulk inserts, and look-ups by time."""
