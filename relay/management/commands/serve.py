"""``manage.py serve``: the gateway in production, under daphne hardened."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from relay.management.help import port_number, with_examples
from relay.server.limits import BACKLOG, THREADS_SECONDS

logger = logging.getLogger(__name__)

HELP = """Serve the gateway: WebSocket, server-sent events and HTTP, in one process on one core.

Start more processes for more cores (they share sessions by GATEWAY__REDIS_URL), and a proxy before them for TLS.
Settings come from GATEWAY__... in the environment or in .env; see .env.example. The system checks run first, and an
error stops the start.

SIGTERM or SIGINT: takes nothing new, lets answers finish (GATEWAY__DRAIN_SECONDS), disconnects clients one after
another, and exits with 0. A second signal leaves no more time, a third one ends the process at once.
SIGHUP changes nothing: settings are read at the start only.
"""

EXAMPLES = """examples:
  manage.py serve                              on http://127.0.0.1:8000
  manage.py serve --host 0.0.0.0 --port 80     for other machines too
  manage.py serve --unix-socket /run/gateway/gateway.sock
  manage.py serve --fd 3                       on the socket that systemd opened
"""


class Command(BaseCommand):
    """Serves until a signal."""

    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help. (``kwargs`` are Django's.)"""
        return with_examples(super().create_parser(prog_name, subcommand, **kwargs), EXAMPLES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the address, and whether to log requests."""
        parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
        parser.add_argument("--port", type=port_number, help="port to listen on (default: 8000)")
        parser.add_argument(
            "--unix-socket", metavar="PATH", help="listen on a Unix socket; a file that is left there is replaced"
        )
        parser.add_argument("--fd", type=int, metavar="NUMBER", help="listen on a socket that was opened before")
        parser.add_argument(
            "--no-access-log", action="store_true", help="no line for each request and socket (level INFO)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve. Imports wait until Django is set up, and the reactor with it."""
        from gateway_project.asgi import application
        from relay.server.gateway import GatewayServer, log_access

        server = GatewayServer(
            application=application,
            endpoints=[_endpoint(options)],
            action_logger=None if options["no_access_log"] else log_access,
        )
        server.run()
        _end_without_threads(server.exit_code)
        logging.shutdown()
        sys.exit(server.exit_code)


def _end_without_threads(exit_code: int) -> None:
    """End the process in a while if it has not ended by itself: Python waits for threads, however long they hang."""

    def end() -> None:
        time.sleep(THREADS_SECONDS)
        logger.warning("thread does not end, perhaps in the database: the process exits without it")
        os._exit(exit_code)

    threading.Thread(target=end, name="end", daemon=True).start()


def _endpoint(options: dict[str, Any]) -> str:
    """Describe to Twisted where to listen."""
    has_address = options["host"] is not None or options["port"] is not None
    if sum([has_address, options["unix_socket"] is not None, options["fd"] is not None]) > 1:
        raise CommandError("Give one of --host and --port, --unix-socket, or --fd.")
    if options["unix_socket"] is not None:
        return f"unix:{_quoted(options['unix_socket'])}:backlog={BACKLOG}"
    if options["fd"] is not None:
        return f"fd:fileno={options['fd']}"
    host = (options["host"] or "127.0.0.1").strip("[]")
    port = 8000 if options["port"] is None else options["port"]
    return f"tcp:port={port}:interface={_quoted(host)}:backlog={BACKLOG}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
