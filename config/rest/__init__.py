"""Parts of the REST API that need the models of this app: authentication and the OpenAPI document."""
