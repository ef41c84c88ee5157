"""``manage.py ticket``: let a browser open one session."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.operator import OperatorCommand, add_json, add_session
from relay.management.operator_client import OperatorClient


class Command(OperatorCommand):
    """Issues a ticket."""

    help = """Issue a ticket, with which a browser can open one session, once, within a short time. Meant for trying
out: your application requests tickets with POST api/v1/tickets. They have an effect only with GATEWAY__WS_AUTH=ticket.
"""
    examples = """  manage.py ticket s-123
  manage.py ticket s-123 --subject ann --seconds 300
  websocat "ws://127.0.0.1:8000/ws/s-123/?ticket=$(manage.py ticket s-123)"
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the session, the user, and the lifetime."""
        add_session(parser)
        parser.add_argument("--subject", help="user the ticket is issued to")
        parser.add_argument(
            "--seconds", type=int, help="lifetime in seconds, at most a day (default: GATEWAY__TICKET_SECONDS)"
        )
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Issue it; alone on its line, so that a script can use it."""
        issued = client.ticket(options["session"], options["subject"], options["seconds"])
        if options["json"]:
            self.write_json(issued)
            return
        self.stdout.write(issued["ticket"])
        if self.is_seen:
            self.stderr.write(f"Valid once, for {issued['expires_in']} seconds.")
