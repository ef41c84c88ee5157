"""``manage.py runserver``: Django's, under the server that production has."""

from __future__ import annotations

from daphne.management.commands.runserver import Command as DaphneCommand

from relay.server.gateway import GatewayServer


class Command(DaphneCommand):  # type: ignore[misc]  # daphne has no types
    """daphne's, with the gateway's server. With the autoreloader, a restart cuts every connection."""

    server_cls = GatewayServer
