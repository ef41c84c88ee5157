"""The application that daphne and uvicorn serve."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup(set_prefix=False)  # before the imports below, which need it

from channels.routing import ProtocolTypeRouter  # noqa: E402

from relay.checks import stop_on_errors  # noqa: E402
from relay.process.lifespan import lifespan  # noqa: E402
from relay.routing import sockets  # noqa: E402
from relay.web.asgi_handler import OwningHandler  # noqa: E402

stop_on_errors()  # servers run no system checks

application = ProtocolTypeRouter({"http": OwningHandler(), "websocket": sockets, "lifespan": lifespan})
