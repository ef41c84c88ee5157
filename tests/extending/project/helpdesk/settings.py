"""A project that uses every extension point of the gateway, and nothing of it that is not public."""

from relay import settings_from_environment
from relay.observability.logging_config import logging_settings

SECRET_KEY = "the-helpdesk-is-open-to-tests-only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "helpdesk.apps.HelpdeskConfig", "relay"]

ROOT_URLCONF = "helpdesk.urls"
ASGI_APPLICATION = "helpdesk.asgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CHANNEL_LAYERS = {"default": {"BACKEND": "helpdesk.layer.AuditedLayer"}}
LOGGING = logging_settings("INFO", is_for_people=False)
LOGGING["loggers"]["helpdesk"] = {"level": "INFO"}

GATEWAY = {
    "INTERNAL_API_KEY": "of-the-helpdesk",
    "TRANSCRIPTS": False,
    "WS_AUTH": "helpdesk.access.BadgePolicy",
    "AGENT_PROTOCOL": "helpdesk.agent.answer",
    "MESSAGE_FIELDS": ["locale"],
    "MESSAGE_HANDLERS": {"rate": "helpdesk.kinds.rate"},
    "ADAPTERS": ["helpdesk.kiosk.Kiosk"],
} | settings_from_environment()
