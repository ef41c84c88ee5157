"""``manage.py disconnect``: disconnect the viewers of a session."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.operator import OperatorCommand, add_session, add_yes
from relay.management.operator_client import OperatorClient
from relay.management.terminal import counted


class Command(OperatorCommand):
    """Disconnects every viewer of one session."""

    help = """Disconnect everyone who has a session open, on every gateway. The session and a running answer continue.

Viewers are told, and their pages stay closed until they reconnect by hand. On a terminal the command asks first.
"""
    examples = """  manage.py disconnect s-123
  manage.py disconnect s-123 --yes
  manage.py drain --everywhere           everyone, from every session: their pages reconnect by themselves
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the session."""
        add_session(parser)
        add_yes(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Disconnect them."""
        self.confirm(f"Disconnect everyone who has session {options['session']} open?", options)
        viewers = client.disconnect(options["session"])
        if not viewers:
            client.session(options["session"])  # one that does not exist is named
        self.stdout.write(f"Disconnected {counted(viewers, 'viewer')}.")
