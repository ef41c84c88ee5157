"""The base of the operator's commands: it finds the gateway, and gives each outcome its exit code."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, ClassVar, Final

from django.core.management.base import BaseCommand, CommandError

from relay.conf import SettingInvalid
from relay.management.gateway_address import add_url
from relay.management.help import with_examples
from relay.management.operator_client import Fields, OperatorClient, Refused, Unreachable
from relay.management.terminal import quiet_pipe
from relay.protocol.client_messages import is_session_id

REFUSED: Final = 1
WRONG_USAGE: Final = 2
UNREACHABLE: Final = 3
CODES: Final = """
It asks a running gateway over REST, at --url or GATEWAY_URL, with the first key of GATEWAY__INTERNAL_API_KEY; with
several gateways over one store, any of them.
exit codes: 0 done, 1 refused or nothing found, 2 wrong usage, 3 no gateway answers at the address.
"""


def session_id(text: str) -> str:
    """Read the name of a session."""
    if not is_session_id(text):
        raise ArgumentTypeError("a session id has 1 to 128 of A-Z a-z 0-9 . _ : ~ @ -")
    return text


class OperatorCommand(BaseCommand):
    """A command that sends a request to a gateway, in ``ask``. Django's arguments are of any type."""

    examples: ClassVar[str]
    requires_system_checks = ()  # of the gateway's settings it uses only the key

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description = f"{self.help}{CODES}"
        add_url(parser)
        return with_examples(parser, f"examples:\n{self.examples}")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send the request, and end with the exit code of the outcome."""
        try:
            with quiet_pipe(), OperatorClient(options["url"]) as client:
                self.ask(client, options)
        except Refused as exc:
            raise CommandError(str(exc), returncode=REFUSED) from exc
        except Unreachable as exc:
            raise CommandError(str(exc), returncode=UNREACHABLE) from exc
        except SettingInvalid as exc:
            raise CommandError(str(exc), returncode=WRONG_USAGE) from exc
        except KeyboardInterrupt:
            self.stdout.write("")

    def ask(self, client: OperatorClient, options: dict[str, Any]) -> None:
        """Do what the command is for."""
        raise NotImplementedError  # pragma: no cover - each command has its own

    @property
    def is_seen(self) -> bool:
        """Does a person look at the output?"""
        return bool(self.stdout.isatty())

    def confirm(self, question: str, options: dict[str, Any]) -> None:
        """Ask a person to confirm what cannot be undone. A script is not asked."""
        if options["yes"] or not sys.stdin.isatty():
            return
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Cancelled.", returncode=REFUSED)

    def write_json(self, value: Fields | list[Fields]) -> None:
        """Write for a program."""
        self.stdout.write(json.dumps(value))


def add_session(parser: ArgumentParser) -> None:
    """Take the name of a session."""
    parser.add_argument("session", type=session_id, help="the session's id")


def add_json(parser: ArgumentParser) -> None:
    """Offer an answer for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_yes(parser: ArgumentParser) -> None:
    """Offer not to be asked."""
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
