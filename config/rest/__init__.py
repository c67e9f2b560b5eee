"""What REST framework loads by name and needs the models: authentication and the OpenAPI document."""
