"""The silence alarm, and checks for problems with inbound requests."""
