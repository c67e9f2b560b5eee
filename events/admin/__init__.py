"""The admin of requests and events."""

from events.admin import requests as requests
