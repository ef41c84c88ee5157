"""The application that daphne and uvicorn serve."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
http = get_asgi_application()  # sets Django up; what follows needs that

from channels.routing import ProtocolTypeRouter  # noqa: E402

from relay.checks import stop_on_errors  # noqa: E402
from relay.lifespan import lifespan  # noqa: E402
from relay.routing import sockets  # noqa: E402

stop_on_errors()  # servers run no system checks

application = ProtocolTypeRouter({"http": http, "websocket": sockets, "lifespan": lifespan})
