"""``manage.py doctor``: check whether a gateway with these settings can work."""

from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser
from typing import Any, Final

import msgspec
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.text import Text

from relay.management.doctor import examine
from relay.management.doctor_agent import say
from relay.management.finding import Finding, Level
from relay.management.help import with_examples
from relay.management.terminal import counted
from relay.protocol.frames import Frame

STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
FOUND: Final = 1
HELP: Final = """Check whether a gateway with these settings can work, and say what to do about each problem.

Run it where the gateway runs, with the gateway's environment; the gateway itself does not have to be running. It runs
the system checks, sends the agent an empty message to see whether it accepts the key (no answer starts), measures the
store's round trips and clock, sends itself an announcement, and checks for unapplied database migrations.

exit codes: 0 no problem (there may be warnings), 1 a problem was found, 2 wrong usage.
"""
EXAMPLES: Final = """examples:
  manage.py doctor                         check, and say what to do
  manage.py doctor --json                  for programs: one object per line
  manage.py doctor --deploy                also report what is unsafe in production
  manage.py doctor --say "hello"           request one real answer from the agent, and show its frames
  manage.py doctor && manage.py serve      start only if it can work
"""


class Command(BaseCommand):
    """Shows each finding as it arrives."""

    help = HELP
    requires_system_checks = ()  # they are among what it shows

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help. (``kwargs`` are Django's.)"""
        return with_examples(super().create_parser(prog_name, subcommand, **kwargs), EXAMPLES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say how to answer."""
        parser.add_argument("--json", action="store_true", help="one JSON object per line")
        parser.add_argument("--deploy", action="store_true", help="also run the system checks for deployments")
        parser.add_argument(
            "--say", metavar="WORDS", help="send this message to the agent, and show the frames of its answer"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and end with a code that says whether there are problems."""
        problems = asyncio.run(self._show_all(as_json=options["json"], for_deployment=options["deploy"]))
        if options["say"] is not None and not problems:
            finding = asyncio.run(say(options["say"], self._show_frame))
            problems = self._show(finding, as_json=options["json"])
        if problems:
            raise CommandError(f"{counted(problems, 'problem')} found.", returncode=FOUND)

    def _show_frame(self, frame: Frame) -> None:
        members = f",{frame.members}" if frame.members else ""
        self.stdout.write(f"{frame.body[:-1]}{members}}}")

    async def _show_all(self, *, as_json: bool, for_deployment: bool) -> int:
        problems = 0
        async for finding in examine(for_deployment=for_deployment):
            problems += self._show(finding, as_json=as_json)
        return problems

    def _show(self, finding: Finding, *, as_json: bool) -> int:
        """Show a finding; return how many problems it is."""
        if as_json:
            self.stdout.write(json.dumps(msgspec.structs.asdict(finding)))
        else:
            console = Console(file=self.stdout, soft_wrap=True, highlight=False)  # type: ignore[arg-type]  # it writes
            console.print(_line(finding))
        return int(finding.level is Level.PROBLEM)


def _line(finding: Finding) -> Text:
    line = Text.assemble((f"{finding.level:<8}", STYLES[finding.level]), f" {finding.subject}: {finding.words}")
    if finding.advice:
        line.append(f"\n         → {finding.advice}", "dim" if finding.level is Level.OK else "")
    return line
