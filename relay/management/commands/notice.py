"""``manage.py notice``: tell everybody something."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.operator import OperatorCommand, session_id
from relay.management.operator_client import OperatorClient


class Command(OperatorCommand):
    """Shows words to those who are connected now."""

    help = """Show words to everybody who is connected now, on every gateway: a notice in their conversations.

It is not kept, and plain clients have no frame for it.
"""
    examples = """  manage.py notice "We restart at six. Your conversations will go on."
  manage.py notice "Please reload the page." --session s-123
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what to whom."""
        parser.add_argument("words", help="what to show")
        parser.add_argument("--session", type=session_id, metavar="ID", help="only to those who watch this session")

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Send it."""
        client.notify(options["words"], options["session"])
        self.stdout.write("Sent.")
