"""How requests are stored and found: rows, bodies, bulk inserts, and lookups by time."""
