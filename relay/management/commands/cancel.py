"""``manage.py cancel``: stop an answer."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from relay.management.operator import REFUSED, OperatorCommand, add_json, add_session
from relay.management.operator_client import OperatorClient

WORDS: Final = {
    "cancelling": "Turn {turn_id} is being stopped.",
    "queued": "Turn {turn_id} was waiting; it will end without being run.",
    "already_ended": "Turn {turn_id} has ended already.",
    "unknown": "There is nothing to stop.",
}


class Command(OperatorCommand):
    """Stops one turn."""

    help = "Stop the answer in flight in a session; if none runs, the next one in its queue. The session goes on.\n"
    examples = """  manage.py cancel s-123
  manage.py cancel s-123 --turn 0f3a…   this turn, wherever it is in the queue
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what to stop."""
        add_session(parser)
        parser.add_argument("--turn", metavar="ID", help="this turn (default: the one in flight)")
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Stop it, and say what became of it."""
        ack = client.cancel(options["session"], options["turn"])
        if ack["status"] == "unknown":
            client.session(options["session"])  # one that does not exist is named
        if options["json"]:
            self.write_json(ack)
        else:
            self.stdout.write(WORDS[ack["status"]].format(**ack))
        if ack["status"] in ("unknown", "already_ended"):
            raise SystemExit(REFUSED)
