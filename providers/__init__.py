"""Provider accounts, the plug-in contract, and one folder per provider."""
