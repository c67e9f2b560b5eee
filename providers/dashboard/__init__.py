"""Shared code of the dashboard's pages: lists, forms from schemas, JSON trees, and formatting."""
