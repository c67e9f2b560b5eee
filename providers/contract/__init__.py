"""What a plug-in declares and does, and what it may use. No Django here."""
