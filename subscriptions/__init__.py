"""Subscriptions: what is wanted, what is observed at the provider, and the plan that makes them one."""
