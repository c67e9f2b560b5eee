"""What all pages of the dashboard share: lists, forms from schemas, JSON trees, formatting."""
