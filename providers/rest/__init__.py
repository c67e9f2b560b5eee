"""What the REST views of all apps share. Authentication and the OpenAPI document are in `config.rest`."""
