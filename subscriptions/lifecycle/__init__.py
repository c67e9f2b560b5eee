"""What may be done with a subscription, and changes of its desired state."""
