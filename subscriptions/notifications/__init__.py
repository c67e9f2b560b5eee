"""Tell people about problems, by e-mail and webhook."""
