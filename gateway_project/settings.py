"""Django's settings. The gateway's own are texts from the environment, read by ``relay.conf``."""

from __future__ import annotations

from pathlib import Path

import environ
from corsheaders.defaults import default_headers
from django.core.management.utils import get_random_secret_key

from relay.conf import PREFIX, Conf
from relay.origins import origin_pattern

BASE_DIR = Path(__file__).resolve().parent.parent

environ.Env.read_env(BASE_DIR / ".env")  # the environment wins over the file

GATEWAY: dict[str, str] = {
    name.removeprefix(PREFIX): value for name, value in environ.Env.ENVIRON.items() if name.startswith(PREFIX)
}
_conf = Conf(lambda: GATEWAY).without_problems()  # a system check names the wrong ones

SECRET_KEY = _conf.secret_key or get_random_secret_key()
DEBUG = _conf.debug
ALLOWED_HOSTS = list(_conf.allowed_hosts)

INSTALLED_APPS = [
    "relay",  # before daphne: it chooses the event loop, and has a runserver of its own
    "daphne",  # before staticfiles: its runserver speaks WebSocket
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "corsheaders",
    "ninja",  # its docs page's files
    "channels",
]

MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",  # first: a preflight shows no key, and a page may read a 401
    "relay.middleware.internal_auth",
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "relay.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

CORS_URLS_REGEX = r"\A/api/v1/"
CORS_ALLOW_ALL_ORIGINS = DEBUG
CORS_ALLOWED_ORIGIN_REGEXES = [origin_pattern(origin) for origin in _conf.allowed_origins]
CORS_ALLOW_HEADERS = (*default_headers, "x-internal-auth", "idempotency-key", "last-event-id", "cache-control")
CORS_EXPOSE_HEADERS = ("retry-after",)

# A REST message may be as large as one over a socket; Django's own limit is 2.5 MB.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, _conf.max_message_bytes)

ROOT_URLCONF = "gateway_project.urls"
ASGI_APPLICATION = "gateway_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

CHANNEL_LAYERS = {
    "default": (
        {"BACKEND": "relay.layers.redis.RedisSessionLayer", "CONFIG": {"urls": _conf.redis_urls}}
        if _conf.redis_urls
        else {"BACKEND": "relay.layers.memory.MemorySessionLayer"}
    )
}

DATABASES = {"default": environ.Env.db_url_config(_conf.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
SERVESTATIC_USE_FINDERS = True  # a checkout serves its files without collectstatic

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# Third-party loggers stay at WARNING whatever LOG_LEVEL says: theirs would show addresses and frames.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "relay": {"level": _conf.log_level},
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}
