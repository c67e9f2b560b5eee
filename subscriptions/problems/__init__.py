"""Detect problems from facts in the database, and say what to do about them."""
