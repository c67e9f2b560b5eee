"""Model fields, encryption, IDs, and claims on rows."""
