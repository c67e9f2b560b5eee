"""The audit trail, and the record of every change of a state."""
