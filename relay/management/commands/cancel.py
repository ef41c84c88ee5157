"""``manage.py cancel``: stop an answer."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from relay.management.operator import REFUSED, OperatorCommand, add_json, add_session
from relay.management.operator_client import OperatorClient
from relay.management.terminal import counted

WORDS: Final = {
    "cancelling": "Turn {turn_id} is being stopped.",
    "queued": "Turn {turn_id} was queued; it will end without being run.",
    "already_ended": "Turn {turn_id} has already ended.",
    "unknown": "There is nothing to stop.",
}


class Command(OperatorCommand):
    """Stops one turn."""

    help = "Stop a session's answer in flight or, if there is none, the next one in its queue. The session continues.\n"
    examples = """  manage.py cancel s-123
  manage.py cancel s-123 --turn 0f3a…   this turn, even if it is still queued
  manage.py cancel s-123 --all          the answer in flight, and every queued message
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what to stop."""
        add_session(parser)
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--turn", metavar="ID", help="this turn (default: the one in flight)")
        which.add_argument("--all", action="store_true", help="the one in flight, and all that are queued")
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Stop it, and report the result."""
        removed = client.clear_queue(options["session"]) if options["all"] else 0
        ack = client.cancel(options["session"], options["turn"])
        if ack["status"] == "unknown" and not removed:
            client.session(options["session"])  # one that does not exist is named
        if options["json"]:
            self.write_json({**ack, "removed": removed} if options["all"] else ack)
        else:
            if removed:
                self.stdout.write(f"Removed {counted(removed, 'queued message')}.")
            self.stdout.write(WORDS[ack["status"]].format(**ack))
        if ack["status"] in ("unknown", "already_ended") and not removed:
            raise SystemExit(REFUSED)
