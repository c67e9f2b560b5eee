"""Sync accounts, compute and apply plans, and retry."""
