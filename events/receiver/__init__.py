"""From an inbound HTTP request to a stored row: handler, verification, group commit, spool."""
