"""Detect problems from facts in the database, and advise what to do about them."""
