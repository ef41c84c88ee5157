"""Django's settings. The gateway's own are texts from the environment, read by ``relay.conf``."""

from __future__ import annotations

import os
import sys

from corsheaders.defaults import default_headers
from django.core.management.utils import get_random_secret_key

from gateway_project.folder import FOLDER
from relay.conf import Conf, SettingInvalid, read_texts
from relay.conf.env_file import EnvFileInvalid, load_env_file
from relay.database.connection import database
from relay.observability.logging_config import logging_settings
from relay.protocol.origins import origin_pattern
from relay.protocol.page_policy import PAGE_POLICY
from relay.protocol.request_headers import FROM_ADAPTERS, FROM_PAGES, REQUEST_ID, TO_ADAPTERS
from relay.server.standard_streams import open_standard_streams

BASE_DIR = FOLDER

open_standard_streams()  # before anything else is opened, or written to standard error

try:
    load_env_file(BASE_DIR / ".env", os.environ)
except EnvFileInvalid as exc:
    sys.exit(str(exc))  # not in a system check: a command without checks must not continue without settings

GATEWAY: dict[str, str] = read_texts(os.environ)
_conf = Conf(lambda: GATEWAY).without_problems()  # a system check names the wrong ones

SECRET_KEY = _conf.secret_key or get_random_secret_key()
DEBUG = _conf.debug
ALLOWED_HOSTS = list(_conf.allowed_hosts)

INSTALLED_APPS = [
    "gateway_project",  # before daphne: it chooses the event loop; before the admin, whose pages it names
    "relay",  # before daphne: it has a runserver of its own
    "daphne",  # before staticfiles: its runserver speaks WebSocket
    "relay.apps.GuardedAdminConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "servestatic",
    "corsheaders",
    "ninja",  # the files of its docs page
    "channels",
]

MIDDLEWARE = [
    "relay.web.middleware.request_context",  # first, so that every later log line carries its names
    "corsheaders.middleware.CorsMiddleware",  # before the key: a preflight has no key, and a page may read a 401
    "relay.web.middleware.internal_auth",
    "django.middleware.security.SecurityMiddleware",
    "relay.web.middleware.content_security_policy",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "relay.web.middleware.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

CORS_URLS_REGEX = r"\A/(api/)?v1/"
CORS_ALLOW_ALL_ORIGINS = DEBUG
CORS_ALLOWED_ORIGIN_REGEXES = [origin_pattern(origin) for origin in _conf.allowed_origins]
CORS_ALLOW_CREDENTIALS = bool(_conf.allowed_origins) and _conf.ws_auth == "session" and not DEBUG  # its cookie
CORS_ALLOW_HEADERS = (*default_headers, *FROM_PAGES, *FROM_ADAPTERS)
CORS_EXPOSE_HEADERS = ("retry-after", REQUEST_ID.lower(), *TO_ADAPTERS)

# Below a path of its host, which the proxy may leave on or take off.
FORCE_SCRIPT_NAME = _conf.root_path or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{_conf.root_path}/"
LOGIN_URL = f"{_conf.root_path}/login/"

SESSION_ENGINE = "relay.access.django_sessions"

# Cookies over TLS only, and browsers come back over TLS only. A redirect is the proxy's business, and whether the
# domain's other hosts have TLS is not ours to promise: Django's checks for these stay silent.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _conf.https
SECURE_HSTS_SECONDS = 31_536_000 if _conf.https else 0
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021", *_conf.silenced_checks]

SECURE_CSP = PAGE_POLICY
SECURE_REFERRER_POLICY = "same-origin"  # addresses of pages may contain session ids

# A REST message may be as large as one over a socket; Django's own limit is 2.5 MB.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(2_621_440, _conf.max_request_bytes)

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

_LAYER = "redis.RedisSessionLayer" if _conf.redis_url else "memory.MemorySessionLayer"
CHANNEL_LAYERS = {"default": {"BACKEND": f"relay.layers.{_LAYER}"}}

try:
    DATABASES = {"default": database(Conf(lambda: GATEWAY).database_url)}
except SettingInvalid:  # a system check says so; a command that runs none must not find another database
    DATABASES = {"default": {"ENGINE": "django.db.backends.dummy"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = f"{_conf.root_path}/static/" if _conf.root_path else "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
SERVESTATIC_USE_FINDERS = True  # a checkout serves its files without collectstatic

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

_IS_FOR_PEOPLE = {"auto": sys.stderr.isatty(), "console": True, "json": False}
LOGGING = logging_settings(_conf.log_level, is_for_people=_IS_FOR_PEOPLE[_conf.log_format])
