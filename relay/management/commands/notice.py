"""``manage.py notice``: send a notice to all clients, or to those of one session."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from relay.management.operator import OperatorCommand, session_id
from relay.management.operator_client import OperatorClient


class Command(OperatorCommand):
    """Sends a notice to the clients that are connected now."""

    help = """Send a notice to everyone connected, on every gateway; it appears in their conversations.

It is not stored, and plain clients do not get it.
"""
    examples = """  manage.py notice "We restart at six. Your conversations will go on."
  manage.py notice "Please reload the page." --session s-123
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the notice, and a session."""
        parser.add_argument("words", type=_words, help="text of the notice")
        parser.add_argument("--session", type=session_id, metavar="ID", help="only to viewers of this session")

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Send it."""
        if options["session"] is not None:
            client.session(options["session"])  # a notice that reaches no client is none
        client.notify(options["words"], options["session"])
        self.stdout.write("Sent.")


def _words(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("the notice is empty")
    return text
