"""``manage.py chat``: talk to the agent in a terminal."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.conf import SettingInvalid, conf
from relay.layers.values import new_id
from relay.management.chat_client import ChatClient, Closed
from relay.management.chat_conversation import Conversation
from relay.management.gateway_address import add_url, socket_url
from relay.management.help import with_examples
from relay.management.operator import session_id
from relay.management.terminal import quiet_pipe

HELP: Final = """Talk to the agent in this terminal, through a running gateway.

Ctrl-C stops an answer; pressed again, or when no answer is running, it quits, and so does Ctrl-D. After a lost
connection it reconnects by itself. It sends the first key of GATEWAY__INTERNAL_API_KEY, so it works with any
GATEWAY__WS_AUTH; with --ticket it sends the ticket instead.

In a pipe, standard output contains only the answers, and after 15 seconds without a gateway the command gives up.

exit codes: 0 done, 1 the gateway refused, or in a pipe an answer failed or no gateway answered, 2 wrong usage.
"""
EXAMPLES: Final = """examples:
  manage.py chat                                     in a new session
  manage.py chat --session s-123                     continue this session
  manage.py chat --session s-123 --ticket "$(manage.py ticket s-123 --subject ann)"   as ann
  echo "What is new?" | manage.py chat > answer.txt  one answer, for a script
"""
FAILED: Final = 1
PATIENCE_SECONDS: Final = 15.0  # of a script without a connection: a gateway that is restarted is back by then


class Command(BaseCommand):
    """Chat until the person quits, or the gateway says not to come back."""

    help = HELP
    requires_system_checks = ()  # of the gateway's settings it uses only the key

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help. (``kwargs`` are Django's.)"""
        return with_examples(super().create_parser(prog_name, subcommand, **kwargs), EXAMPLES)

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the gateway, the session, and a credential."""
        add_url(parser)
        parser.add_argument(
            "--session", type=session_id, metavar="ID", help="continue this session (default: a new one)"
        )
        parser.add_argument("--ticket", help="send this ticket instead of the key; it opens one session")

    def handle(self, *args: Any, url: str, session: str | None, ticket: str | None, **options: Any) -> None:
        """Talk. (Arguments are Django's.)"""
        name = session or new_id()
        try:
            key = None if ticket else conf.internal_api_keys[0]
            patience = None if sys.stdin.isatty() else PATIENCE_SECONDS
            client = ChatClient(socket_url(url), name, key=key, ticket=ticket, patience_seconds=patience)
            with quiet_pipe():
                has_failed = asyncio.run(_talk(client, name))
        except (Closed, SettingInvalid) as exc:
            raise CommandError(str(exc)) from exc
        if has_failed and not sys.stdin.isatty():
            raise SystemExit(FAILED)


async def _talk(client: ChatClient, name: str) -> bool:
    conversation = Conversation(client, name)
    await conversation.run()
    return conversation.has_failed
