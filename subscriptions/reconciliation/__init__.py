"""Reconciliation: sync accounts, compute and apply plans, and retry."""
