"""Shared code of the REST views. Authentication and the OpenAPI document are in `config.rest`."""
