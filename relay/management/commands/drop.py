"""``manage.py drop``: erase a session."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.operator import OperatorCommand, add_session, add_yes
from relay.management.operator_client import OperatorClient


class Command(OperatorCommand):
    """Erases one session."""

    help = """Erase a session with its log and its transcripts: its turns end, and its viewers are told.

This cannot be undone. On a terminal the command asks for confirmation.
"""
    examples = """  manage.py drop s-123
  manage.py drop s-123 --yes
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the session."""
        add_session(parser)
        add_yes(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Erase it."""
        self.confirm(f"Erase session {options['session']} and its transcripts?", options)
        client.delete(options["session"])
        self.stdout.write(f"Session {options['session']} is erased.")
