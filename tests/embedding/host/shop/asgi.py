"""The shop's application: Django's with its files, the shop's sockets, and the gateway's at a prefix."""

import os

from channels.routing import URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django_application = get_asgi_application()  # before the imports below, which need it

from relay import routing  # noqa: E402
from shop.consumers import Prices  # noqa: E402

application = routing.application(
    http=ASGIStaticFilesHandler(django_application),
    websocket=URLRouter(
        [
            path("ws/prices/", Prices.as_asgi()),
            path("assistant/", URLRouter(routing.websocket_urlpatterns)),
        ]
    ),
)
