"""Prints what a process of the host is like once everything of the gateway that a host imports is imported."""

import gc
import importlib.util
import json
import logging
import signal
import sys

before = {
    "collections": gc.get_threshold(),
    "frozen": gc.get_freeze_count(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)],
}

from django.contrib import admin  # noqa: E402
from django.core.management import get_commands  # noqa: E402
from django.template.loader import get_template  # noqa: E402
from shop.asgi import application  # noqa: E402, F401

import relay.admin  # noqa: E402
import relay.urls  # noqa: E402

TEMPLATES = ("admin/base_site.html", "admin/index.html", "admin/login.html")
SERVERS = ("uvicorn.access", "uvicorn.error", "uvicorn.asgi", "websockets.server", "django.request", "")

after = {
    "collections": gc.get_threshold(),
    "frozen": gc.get_freeze_count(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)],
}
print(
    json.dumps(
        {
            "gateway": relay.__file__,
            "finds the checkout": importlib.util.find_spec("tests") is not None,
            "is unchanged": before == after,
            "servers": [name for name in ("twisted.internet.reactor", "daphne", "uvloop") if name in sys.modules],
            "filters of loggers": sum(len(logging.getLogger(name).filters) for name in SERVERS),
            "admin": [type(admin.site._wrapped if hasattr(admin.site, "_wrapped") else admin.site).__name__],
            "login of the admin": str(admin.site.login_form),
            "sidebar": admin.site.enable_nav_sidebar,
            "models in the admin": sorted(model._meta.label for model in admin.site._registry),
            "templates": [str(get_template(name).origin.name).split("/site-packages/")[-1] for name in TEMPLATES],
            "migrate": get_commands()["migrate"],
        }
    )
)
