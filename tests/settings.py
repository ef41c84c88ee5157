"""Settings of the test run: the defaults, whatever the environment or a ``.env`` file says."""

from gateway_project.settings import *  # noqa: F403

GATEWAY = {"INTERNAL_API_KEY": "test-internal-key", "LOG_LEVEL": "DEBUG", "TRANSCRIPTS": "false"}
SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
