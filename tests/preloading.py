"""What the fork server imports before it forks: libraries, and the gateway's own modules.

No program notices: modules read no setting of the gateway as they are imported (``load`` refuses to go on if one did),
and what Django keeps of its settings and apps is forgotten.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = (
    *("asyncio", "concurrent.futures.thread", "email.message", "encodings.idna", "getpass", "http.client",
      "importlib.metadata", "ssl", "unittest.mock", "xml.dom.minidom"),
    *("asgiref.server", "asgiref.sync", "autobahn.rawsocket.util", "autobahn.wamp.message",
      "autobahn.websocket.protocol", "corsheaders.defaults", "cryptography.hazmat.primitives.kdf.pbkdf2",
      "cryptography.x509", "dotenv", "environ", "h11", "hiredis", "httpx", "hyperlink", "jwt", "msgspec",
      "opentelemetry.sdk.trace", "prometheus_client.core", "psycopg", "pydantic", "pydantic.dataclasses",
      "pydantic.networks", "pydantic.types", "redis.asyncio", "redis.asyncio.sentinel", "rich.console",
      "rich.traceback", "servestatic.middleware", "structlog", "uvicorn.main", "uvloop"),
    *("django.contrib.admin.templatetags.admin_list", "django.contrib.admin.views.main",
      "django.contrib.messages", "django.contrib.sessions.backends.base", "django.contrib.staticfiles.storage",
      "django.core.cache.backends.locmem", "django.core.handlers.asgi",
      "django.core.management.commands.makemigrations", "django.core.management.commands.migrate",
      "django.core.management.commands.runserver", "django.db.backends.sqlite3.base", "django.db.models",
      "django.forms", "django.middleware.csrf", "django.template.backends.django",
      "django.template.defaultfilters", "django.template.defaulttags", "django.template.loader_tags",
      "django.test", "django.urls", "django.views.generic"),
    *("channels.db", "channels.generic.websocket", "channels.routing"),
    *("twisted.application.service", "twisted.internet.asyncioreactor", "twisted.internet.endpoints",
      "twisted.internet.ssl", "twisted.internet.tcp", "twisted.web.http"),
)  # fmt: skip
# The gateway's apps without the two that choose the event loop of their process, gateway_project and daphne.
APPS = (
    "relay", "relay.apps.GuardedAdminConfig",
    *(f"django.contrib.{app}" for app in ("auth", "contenttypes", "sessions", "messages", "staticfiles")),
    "servestatic", "corsheaders", "ninja", "channels",
)  # fmt: skip
# Those of the gateway's modules that each program imports for itself: they install a reactor, register checks, read
# settings, or are for tests alone.
NOT_SHARED = (
    *("relay.__main__", "relay.checks.", "relay.demo_agent.server", "relay.management.commands.runserver"),
    *(f"relay.server.{module}" for module in ("applications", "gateway", "listening", "runserver", "server")),
    *("relay.testing", "relay.urls"),
)


def load() -> None:
    """Import everything.

    Raises:
        RuntimeError: a module has done, as it was imported, what is a program's to do.
    """
    for library in LIBRARIES:
        importlib.import_module(library)
    with _installed_apps():
        import relay

        for module in pkgutil.walk_packages(relay.__path__, "relay."):
            if not module.name.startswith(NOT_SHARED):
                importlib.import_module(module.name)
    _check()


@contextmanager
def _installed_apps() -> Iterator[None]:
    """In this block models can be imported; afterwards Django has neither settings nor apps nor connections."""
    from django.apps import AppConfig, apps
    from django.conf import settings
    from django.db import connections
    from django.test.signals import setting_changed
    from django.utils.functional import empty

    settings.configure(INSTALLED_APPS=APPS, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    for app in map(AppConfig.create, APPS):
        app.apps = apps
        apps.app_configs[app.label] = app
    apps.apps_ready = True
    for app in apps.get_app_configs():
        app.import_models()
    apps.models_ready = True  # not ``ready``: nothing is done that an app does to its process
    try:
        yield
    finally:
        apps.apps_ready = apps.models_ready = False
        apps.app_configs.clear()
        apps.clear_cache()
        vars(connections).clear()
        connections.__init__()
        settings._wrapped = empty
        for name in ("LANGUAGE_CODE", "LOCALE_PATHS"):
            setting_changed.send(None, setting=name, value=None, enter=False)


def _check() -> None:
    """Refuse to go on with what programs would not find as they leave it."""
    from django.contrib import admin
    from django.core.checks.registry import registry
    from django.utils.functional import empty

    from relay.conf import conf

    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("a module has installed a reactor, which is the gateway's to choose")
    if read := {setting.attribute for setting in conf.settings()} & vars(conf).keys():
        raise RuntimeError(f"settings were read as modules were imported: {read}")
    if admin.site._wrapped is not empty:
        raise RuntimeError("a module has registered a page with the admin, where each program registers its own")
    if ours := {check.__name__ for check in registry.registered_checks if check.__module__.startswith("relay.")}:
        raise RuntimeError(f"modules have registered checks, which are for programs with the gateway's app: {ours}")
