"""The admin pages of requests and events."""

from events.admin import events as events
from events.admin import requests as requests
