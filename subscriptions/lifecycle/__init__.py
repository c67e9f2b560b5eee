"""Actions on accounts and subscriptions: when they are allowed, and how they change the desired state."""
