"""What the REST views of all apps share. It lives here because imports point down; what settings load is config.rest."""
