"""``manage.py failures``: the turns that failed a short time ago, and why."""

from __future__ import annotations

import json
import textwrap
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db.models import Count, QuerySet
from rich.table import Table

from relay.conf import conf
from relay.management.help import with_examples
from relay.management.operator import add_json
from relay.management.terminal import console, counted, printable, quiet_pipe
from relay.management.transcripts import age, refusal_said
from relay.models import FAILED, Turn

HELP: Final = """List the turns that failed a short time ago, the newest first: session, user, message, and why.

It reads the transcripts directly in the database, so it needs no gateway, and finds nothing with
GATEWAY__TRANSCRIPTS=false. Turns that were cancelled have not failed. Times are UTC.
exit codes: 0 done, also if none failed, 1 the database refused, 2 wrong usage.
"""
EXAMPLES: Final = """examples:
  manage.py failures                          of the last 15 minutes
  manage.py failures --since 1d --limit 1000
  manage.py failures --json | jq -r .reason | sort | uniq -c
"""
COLUMNS: Final = ("time", "session", "user", "message", "why")
MESSAGE_CHARACTERS: Final = 60
JSON_FIELDS: Final = ("turn_id", "session_id", "subject", "message", "reason", "upstream_status", "error", "worker")


class Command(BaseCommand):
    """Reads the table of turns."""

    help = HELP
    requires_system_checks = ()  # only the database is its business

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help. (``kwargs`` are Django's.)"""
        return with_examples(super().create_parser(prog_name, subcommand, **kwargs), EXAMPLES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say how far back to look."""
        parser.add_argument("--since", type=age, default="15m", metavar="AGE", help="such as 15m (default), 1h or 1d")
        parser.add_argument("--limit", type=int, default=100, help="list so many at most (default: %(default)s)")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """List them. (Arguments are Django's.)"""
        since = datetime.now(UTC) - options["since"]
        failed = Turn.objects.filter(FAILED, ended_at__gte=since)
        with quiet_pipe(), refusal_said():
            self._list(failed, list(failed[: max(0, options["limit"])]), as_json=options["json"])

    def _list(self, failed: QuerySet[Turn], listed: list[Turn], *, as_json: bool) -> None:
        if as_json:
            for turn in listed:
                fields = {name: getattr(turn, name) for name in JSON_FIELDS}
                self.stdout.write(json.dumps({"ended_at": turn.ended_at.isoformat(), **fields}))
        elif self.stdout.isatty():
            table = Table(title=_summary(failed), title_justify="left", title_style="bold")
            for column in COLUMNS:
                table.add_column(column, overflow="fold")
            for turn in listed:
                table.add_row(*_row(turn))
            console().print(table if listed else _summary(failed))
        else:
            self.stdout.write("\n".join("\t".join(row) for row in (COLUMNS, *map(_row, listed))))


def _summary(failed: QuerySet[Turn]) -> str:
    """Count them by reason: ``3 failed turns: 2 upstream_error, 1 interrupted``."""
    counts = list(failed.order_by().values_list("reason").annotate(count=Count("pk")).order_by("-count", "reason"))
    if counts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
        return f"{counted(sum(count for _, count in counts), 'failed turn')}: {reasons}"
    return "No turn failed." if conf.transcripts else "No transcripts are kept (GATEWAY__TRANSCRIPTS=false)."


def _row(turn: Turn) -> tuple[str, ...]:
    message = textwrap.shorten(turn.message, MESSAGE_CHARACTERS, placeholder=" …")
    cells = (f"{turn.ended_at:%m-%d %H:%M:%S}", turn.session_id, turn.subject, message, _why(turn))
    return tuple(" ".join(printable(cell).split()) for cell in cells)


def _why(turn: Turn) -> str:
    """Say the code, the status of the agent's response, and the agent's or the connection's words."""
    status = f" (HTTP {turn.upstream_status})" if turn.upstream_status is not None else ""
    return f"{turn.reason}{status}{': ' if turn.error else ''}{turn.error}"
