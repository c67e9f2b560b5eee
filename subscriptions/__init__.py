"""Subscriptions: their desired state, their state at the provider, and the plan that brings the two together."""
