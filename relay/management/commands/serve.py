"""``manage.py serve``: the gateway in production, under daphne hardened."""

from __future__ import annotations

import logging
import sys
from argparse import SUPPRESS, ArgumentParser
from typing import Any, NoReturn

from channels.routing import get_default_application
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from relay.conf.parsers import workers
from relay.management.help import check_extra, port_number, with_examples, worker_count
from relay.server.limits import BACKLOG

logger = logging.getLogger(__name__)

HELP = """Serve the gateway: WebSocket, server-sent events and HTTP, in one process on one core, or in several.

--workers starts several that share the address (and sessions, through GATEWAY__REDIS_URL), and a parent that replaces
those that die. Put a proxy in front for TLS. Settings come from GATEWAY__... in the environment or in .env; see
.env.example. The system checks run first, and an error stops the start.

On SIGTERM or SIGINT it accepts no new work, lets answers finish (GATEWAY__DRAIN_SECONDS), disconnects clients one after
another, and exits with 0. A second signal ends the waiting, a third one ends the process at once.
On SIGHUP workers are replaced one after another, with new code and settings; it has no effect on a single process.
"""

EXAMPLES = """examples:
  manage.py serve                              on http://127.0.0.1:8000
  manage.py serve --host 0.0.0.0 --port 80     reachable from other machines
  manage.py serve --unix-socket /run/gateway/gateway.sock
  manage.py serve --fd 3                       on the socket that systemd opened
  manage.py serve --workers auto               one process for each core
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
            "--unix-socket", metavar="PATH", help="listen on a Unix socket; a leftover socket file is replaced"
        )
        parser.add_argument("--fd", type=int, metavar="NUMBER", help="listen on an inherited, open socket")
        parser.add_argument(
            "--no-access-log", action="store_true", help="do not log each request and socket (level INFO)"
        )
        parser.add_argument(
            "--workers",
            type=worker_count,
            metavar="NUMBER",
            help="processes that share the address, or auto: one for each core (default: GATEWAY__WORKERS)",
        )
        parser.add_argument("--as-worker", help=SUPPRESS)  # how a parent starts a worker: number, socket, link

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve, alone, as the parent of workers, or as one of them."""
        check_extra("serve")
        endpoint = _endpoint(options)
        if options["as_worker"] is not None:
            endpoint = _become_worker(options["as_worker"])
        elif (count := worker_count_of(options["workers"])) > 1:
            _become_parent(count, options)
        self._serve(endpoint, options)

    def _serve(self, endpoint: str, options: dict[str, Any]) -> None:
        """Serve in this process. Imports wait until Django is set up, and the reactor with it."""
        from relay.server import reactor

        reactor.install()
        from relay.server.gateway import GatewayServer, log_access

        server = GatewayServer(
            application=_application(),
            endpoints=[endpoint],
            action_logger=None if options["no_access_log"] else log_access,
        )
        server.run()
        logging.shutdown()
        sys.exit(server.exit_code)


def _application() -> Any:
    """Return the application that ``ASGI_APPLICATION`` names. (``Any``: ASGI's.)"""
    try:
        return get_default_application()
    except ImproperlyConfigured as exc:
        raise CommandError(f"ASGI_APPLICATION names no application: {exc} ({exc.__context__})") from exc


def worker_count_of(option: str | None) -> int:
    """Return the number of processes that the option, or without it the setting, asks for.

    Raises:
        CommandError: it is more than one, and there is no store.
    """
    from relay.conf import conf
    from relay.process.lifecycle import session_layer
    from relay.server.workers import core_count

    wanted = conf.workers if option is None else workers().read(option)
    if wanted != 1 and not session_layer().survives_process:
        raise CommandError(
            "Several workers need a store, because each would have sessions of its own: set GATEWAY__REDIS_URL "
            "(Redis 7 or Valkey 8), or leave --workers and GATEWAY__WORKERS at 1."
        )
    return core_count() if wanted is None else wanted


def _become_parent(count: int, options: dict[str, Any]) -> NoReturn:
    from relay.server.listening import NotListening, inherited_socket, open_tcp, open_unix
    from relay.server.workers import become_parent

    try:
        if options["fd"] is not None:
            listener = inherited_socket(options["fd"])
        elif options["unix_socket"] is not None:
            listener = open_unix(options["unix_socket"])
        else:
            listener = open_tcp(*_address(options))
    except NotListening as exc:
        logger.critical("cannot listen: %s", exc)
        sys.exit(1)
    become_parent(count, listener, unlink=options["unix_socket"], is_foreign=options["fd"] is not None)


def _become_worker(words: str) -> str:
    """Take over what a parent has handed to this process, and return the endpoint of the socket."""
    from relay.observability.logging_config import name_process
    from relay.process.supervision import ParentLink, have_parent

    number, listener, link = map(int, words.split(","))
    have_parent(ParentLink(number, link))
    name_process(worker=number)
    return f"fd:fileno={listener}"


def _endpoint(options: dict[str, Any]) -> str:
    """Describe to Twisted where to listen."""
    has_address = options["host"] is not None or options["port"] is not None
    if sum([has_address, options["unix_socket"] is not None, options["fd"] is not None]) > 1:
        raise CommandError("Give one of --host and --port, --unix-socket, or --fd.")
    if options["unix_socket"] is not None:
        return f"unix:{_quoted(options['unix_socket'])}:backlog={BACKLOG}"
    if options["fd"] is not None:
        return f"fd:fileno={options['fd']}"
    host, port = _address(options)
    return f"tcp:port={port}:interface={_quoted(host)}:backlog={BACKLOG}"


def _address(options: dict[str, Any]) -> tuple[str, int]:
    host = (options["host"] or "127.0.0.1").strip("[]")
    return host, 8000 if options["port"] is None else options["port"]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
