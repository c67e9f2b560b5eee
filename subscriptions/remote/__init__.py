"""The remote subscriptions of an account: listing, importing, ignoring, and deleting orphans."""
