"""``manage.py demo_agent``: an agent to try the gateway with."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.conf import conf, is_own_project
from relay.demo_agent.config import DEFAULT_WORD_DELAY_SECONDS, DELAY, DemoAgentConfig
from relay.management.help import check_extra, port_number

HELP = """\
Run the demo agent: an agent-runtime for trying and testing the gateway, not for production. It answers
POST /agent/message/stream with canned texts at a human pace; send it "help" to see what it can do.
It accepts the gateway's keys, GATEWAY__INTERNAL_API_KEY. With a model server you do not need it: set
GATEWAY__AGENT_PROTOCOL=openai and GATEWAY__AGENT_URL (for example http://localhost:11434) for the gateway.
"""


class Command(BaseCommand):
    """Serve the demo agent with daphne, in this process, until it is interrupted."""

    help = HELP
    requires_system_checks = ()  # of the gateway's settings it uses only the keys

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--port",
            type=port_number,
            default=8001,
            help="port to listen on; 0 picks a free one (default: %(default)s)",
        )
        parser.add_argument(
            "--delay",
            type=_seconds,
            default=os.environ.get(DELAY) or DEFAULT_WORD_DELAY_SECONDS,  # a text is read by ``type``
            help=f"seconds before each word of an answer (default: {DELAY}, otherwise {DEFAULT_WORD_DELAY_SECONDS})",
        )

    def handle(self, *args: Any, host: str, port: int, delay: float, **options: Any) -> None:  # Any: as in Django
        try:
            config = DemoAgentConfig.from_environment(os.environ, word_delay_seconds=delay)
            if not is_own_project():  # its settings have the key, and the gateway sends that one
                config = replace(config, internal_api_keys=conf.internal_api_keys)
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        check_extra("serve")
        from relay.demo_agent.server import DemoAgentServer

        server = DemoAgentServer(config, host, port, say=self._say)
        server.run()
        if server.failure:
            raise CommandError(f"Cannot listen on {host}:{port}: {server.failure}")

    def _say(self, words: str) -> None:
        self.stdout.write(words)
        self.stdout.flush()


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return value
