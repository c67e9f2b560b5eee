"""What an account has at its provider, whoever registered it."""
