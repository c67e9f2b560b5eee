"""`manage.py up`: checks before the start, secrets, the user `admin`, and the processes."""
