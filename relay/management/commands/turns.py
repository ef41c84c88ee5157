"""``manage.py turns``: the conversation of a session."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from relay.management.chat_screen import Screen
from relay.management.operator import OperatorCommand, add_json, add_session
from relay.management.operator_client import OperatorClient
from relay.management.terminal import printable


class Command(OperatorCommand):
    """Prints the ended turns of one session."""

    help = """Print the conversation of a session: its ended turns, oldest first, even if the session is no longer live
(with GATEWAY__TRANSCRIPTS=true). manage.py tail shows the answer in flight; manage.py failures shows why turns failed.

On a terminal as a conversation, otherwise one JSON object per line. Times are UTC.
"""
    examples = """  manage.py turns s-123
  manage.py turns s-123 --limit 1000 | jq -r .answer
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the session, and how much of it."""
        add_session(parser)
        parser.add_argument(
            "--limit", type=int, default=50, help="list at most this many, the newest (default: %(default)s)"
        )
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Print them."""
        turns, is_complete = client.turns(options["session"], max(1, options["limit"]))
        if not turns and is_complete:
            client.session(options["session"])  # one that does not exist is named
            self.stderr.write("No turn has ended in this session.", self.style.NOTICE)
        if not is_complete:
            self.stderr.write("Turns may be missing: the database did not answer.", self.style.NOTICE)
        if self.is_seen and not options["json"]:
            screen = Screen()
            for turn in turns:
                screen.note(printable(", ".join(filter(None, (turn["ended_at"], turn["subject"])))) or "just now")
                screen.past(turn)
        else:
            for turn in turns:
                self.write_json(turn)
