"""The home page, the navigation, and the comparison of providers."""
