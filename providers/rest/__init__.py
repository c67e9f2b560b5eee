"""What the REST views of all apps share. Here because imports point down; what settings load is config.rest."""
