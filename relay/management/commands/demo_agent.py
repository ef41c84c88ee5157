"""``manage.py demo_agent``: an agent to try the gateway with."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server  # installs the asyncio reactor
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.demo_agent.app import DemoAgentApplication
from relay.demo_agent.config import DEFAULT_WORD_DELAY_SECONDS, DELAY, DemoAgentConfig
from relay.management.help import port_number

HELP = """\
Run the demo agent: an agent-runtime for trying and testing the gateway, not for production. It answers
POST /agent/message/stream with canned words at a human pace; say "help" to it to see what it understands.
It accepts the keys in GATEWAY__INTERNAL_API_KEY. A model server needs no demo agent: the gateway asks it with
GATEWAY__AGENT_PROTOCOL=openai and GATEWAY__AGENT_URL (for example http://localhost:11434).
"""


class Command(BaseCommand):
    """Serve the demo agent with daphne, in this process, until it is interrupted."""

    help = HELP
    requires_system_checks = ()  # the gateway's settings are not its business

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--port",
            type=port_number,
            default=8001,
            help="port to listen on; 0 takes a free one (default: %(default)s)",
        )
        parser.add_argument(
            "--delay",
            type=_seconds,
            default=os.environ.get(DELAY) or DEFAULT_WORD_DELAY_SECONDS,  # a text is read by ``type``
            help=f"seconds before each word of an answer (default: {DELAY}, or else {DEFAULT_WORD_DELAY_SECONDS})",
        )

    def handle(self, *args: Any, host: str, port: int, delay: float, **options: Any) -> None:  # Any: as in Django
        try:
            config = DemoAgentConfig.from_environment(os.environ, word_delay_seconds=delay)
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        server = DemoAgentServer(self, config, host, port)
        server.run()
        if server.failure:
            raise CommandError(f"Cannot listen on {host}:{port}: {server.failure}")


class DemoAgentServer(Server):  # type: ignore[misc]  # daphne has no types
    """Daphne, with one line that says where it listens."""

    failure = ""

    def __init__(self, command: BaseCommand, config: DemoAgentConfig, host: str, port: int) -> None:
        endpoints = build_endpoint_description_strings(host=host, port=port)
        super().__init__(DemoAgentApplication(config), endpoints, server_name="", verbosity=0)
        self._command = command

    def listen_success(self, port: Any) -> None:  # Any: Twisted's port
        super().listen_success(port)
        address = port.getHost()
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._command.stdout.write(
            f"The demo agent (canned answers) listens on http://{host}:{address.port} - for trying and testing only."
        )
        self._command.stdout.flush()

    def listen_error(self, failure: Any) -> None:  # Any: Twisted's failure
        self.failure = failure.getErrorMessage()
        self.stop()


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return value
