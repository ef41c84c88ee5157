"""``manage.py runserver`` under the server that production has."""

from __future__ import annotations

from relay.server import reactor

reactor.install()  # before daphne installs another event loop's

from daphne.management.commands.runserver import Command as DaphneCommand  # noqa: E402

from relay.server.gateway import GatewayServer  # noqa: E402


class Command(DaphneCommand):  # type: ignore[misc]  # daphne has no types
    """daphne's, with the gateway's server. With the autoreloader, a restart cuts every connection."""

    server_cls = GatewayServer
