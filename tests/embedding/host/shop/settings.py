"""A project as ``startproject`` makes it, with its own users, admin, sockets and layer, and the gateway at a prefix."""

import os
from pathlib import Path

from relay import settings_from_environment

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "the-shop-is-open-to-tests-only-and-has-a-key-of-its-own"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "shop.apps.ShopAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "customers",
]
INSTALLED_APPS += ["relay"]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "shop.urls"
ASGI_APPLICATION = "shop.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "shop" / "templates"],
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

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"  # not the gateway's

AUTH_USER_MODEL = "customers.Customer"
LOGIN_REDIRECT_URL = "/"

STATIC_URL = "files/"
USE_TZ = True
CSRF_USE_SESSIONS = True  # no cookie that a script could read

CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    "chat": {"BACKEND": "relay.layers.memory.MemorySessionLayer"},
}

GATEWAY = {
    "INTERNAL_API_KEY": "of-the-shop",
    "LAYER": "chat",
    "WS_AUTH": "session",
    "CHAT_PAGE": True,
    "DRAIN_SECONDS": 5,
} | settings_from_environment()
