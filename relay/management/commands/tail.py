"""``manage.py tail``: a session's frames as they arrive."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import CommandError

from relay.management.operator import REFUSED, OperatorCommand, add_json, add_session
from relay.management.operator_client import Fields, OperatorClient, Unreachable
from relay.management.terminal import printable

PAUSE_SECONDS: Final = 1.0  # before connecting again
START: Final = ":0"  # the cursor before everything that the log holds


class Command(OperatorCommand):
    """Follows the log until Ctrl-C, or until the session is deleted."""

    help = """Show a session's frames as they arrive, starting with the answer in flight, if there is one.

On a terminal it shows a conversation, otherwise one JSON object per line. After a lost connection it continues
where it was. It counts as a viewer of the session.
"""
    examples = """  manage.py tail s-123                starting with the answer in flight
  manage.py tail s-123 --all          everything in the log, then new frames
  manage.py tail s-123 --json | jq -r 'select(.type == "error").content'
"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the session, and the place to start at."""
        add_session(parser)
        parser.add_argument("--all", action="store_true", help="start with everything in the log")
        add_json(parser)

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Follow the log, and connect again when the connection is lost."""
        after, was_reached, is_lost = START if options["all"] else "", False, False
        show = self._show_conversation if self.is_seen and not options["json"] else self.write_json
        while True:
            try:
                client.session(options["session"])  # one that does not exist is named, not waited for
                for frame, cursor in client.frames(options["session"], after):
                    after, was_reached, is_lost = cursor or after, True, False
                    show(frame)
                    if frame["type"] == "disconnect" and not frame["reconnect"]:
                        raise CommandError(printable(frame["content"]), returncode=REFUSED)
            except Unreachable:
                if not was_reached:
                    raise
                if not is_lost:
                    self.stderr.write("The gateway does not respond at the moment; retrying.", self.style.NOTICE)
                is_lost = True
            time.sleep(PAUSE_SECONDS)

    def _show_conversation(self, frame: Fields) -> None:
        match frame:
            case {"type": "user_message"}:
                self._write(f"\n\n> {_words(frame)}\n", self.style.MIGRATE_HEADING)
            case {"type": "assistant_message", "is_final": False}:
                self._write(printable(frame["token"]))
            case {"type": "assistant_message"}:
                self._write(f" [{printable(frame['finish_reason'])}]\n", self.style.SUCCESS)
            case {"type": "error"}:
                self._write(f"\n[{frame['code']}: {printable(frame['content'])}]\n", self.style.ERROR)
            case {"type": "snapshot"}:
                self._write(f"\n[…] {printable(frame['content'] or '')}")
            case {"type": "welcome"}:
                self._write(f"[session {frame['session_id']}, frame {frame['offset']}]\n", self.style.NOTICE)
            case {"type": "notice" | "disconnect"}:
                self._write(f"\n[{printable(frame['content'])}]\n", self.style.NOTICE)
            case _:
                self._write(f"\n{printable(json.dumps(frame, ensure_ascii=False))}\n", self.style.NOTICE)

    def _write(self, text: str, style: Any = None) -> None:  # Any: Django's styles have no types
        self.stdout.write(text, style, ending="")
        self.stdout.flush()


def _words(frame: Fields) -> str:
    content = frame.get("content")
    return printable(content if isinstance(content, str) else json.dumps(frame))
