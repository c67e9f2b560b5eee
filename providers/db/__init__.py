"""Model fields, encryption, IDs, claims on rows."""
