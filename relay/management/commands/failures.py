"""``manage.py failures``: recently failed turns, and why they failed."""

from __future__ import annotations

import json
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db.models import Count, QuerySet
from rich.table import Column, Table

from relay.conf import conf
from relay.management.help import with_examples
from relay.management.operator import add_json
from relay.management.terminal import console, counted, printable, quiet_pipe
from relay.management.transcripts import age, refusal_said
from relay.models import FAILED, Turn

HELP: Final = """List recently failed turns, newest first: session, user, message, and reason.

On a terminal the counts come first: ended and failed turns, and the failed ones by reason, user and session.
It reads the transcripts directly from the database, so it needs no running gateway, and finds nothing with
GATEWAY__TRANSCRIPTS=false. Cancelled turns do not count as failed. Times are UTC.

exit codes: 0 done, even if no turn failed, 1 the database refused, 2 wrong usage.
"""
EXAMPLES: Final = """examples:
  manage.py failures                          the last 15 minutes
  manage.py failures --since 1d --limit 1000
  manage.py failures --json | jq -r .reason | sort | uniq -c
"""
COLUMNS: Final = ("time", "session", "user", "message", "why")
MAX_COUNTS: Final = 5  # of users and of sessions: the most frequent
MAX_READ: Final = 1_000  # turns, the newest, for what they say
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
        parser.add_argument(
            "--since",
            type=age,
            default="15m",
            metavar="AGE",
            help="how far back to look, such as 15m (default), 1h or 1d",
        )
        parser.add_argument("--limit", type=int, default=100, help="list at most this many (default: %(default)s)")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """List them. (Arguments are Django's.)"""
        since = datetime.now(UTC) - options["since"]
        ended = Turn.objects.filter(ended_at__gte=since)
        failed = ended.filter(FAILED)
        with quiet_pipe(), refusal_said():
            listed = list(failed[: max(0, options["limit"])])
            if self.stdout.isatty() and not options["json"]:
                self._show(ended, failed, listed)
            else:
                self._list(listed, as_json=options["json"])

    def _show(self, ended: QuerySet[Turn], failed: QuerySet[Turn], listed: list[Turn]) -> None:
        """Show a person the counts, and the turns as a table."""
        screen = console()
        ended_number, failed_number = ended.count(), failed.count()
        words = f"{counted(ended_number, 'turn')} ended, {failed_number} failed."
        is_kept = conf.transcripts or ended_number
        screen.print(words if is_kept else "Transcripts are off (GATEWAY__TRANSCRIPTS=false).", style="bold")
        for count, why in _reasons(failed):
            screen.print(f"{count:>6}  {why}", soft_wrap=True)
        if failed_number:
            screen.print(f"by user: {_counts(failed, 'subject')}", soft_wrap=True)
            screen.print(f"by session: {_counts(failed, 'session_id')}", soft_wrap=True)
        if listed:
            table = Table(*(Column(name, overflow="fold") for name in COLUMNS))
            for turn in listed:
                table.add_row(*_row(turn))
            screen.print(table)

    def _list(self, listed: list[Turn], *, as_json: bool) -> None:
        """List the turns for a program."""
        if as_json:
            for turn in listed:
                fields = {name: getattr(turn, name) for name in JSON_FIELDS}
                self.stdout.write(json.dumps({"ended_at": turn.ended_at.isoformat(), **fields}))
        else:
            self.stdout.write("\n".join("\t".join(row) for row in (COLUMNS, *map(_row, listed))))


def _reasons(failed: QuerySet[Turn]) -> Iterator[tuple[int, str]]:
    """Count the turns by code and status, the most frequent first, with what the newest of them says."""
    texts: dict[tuple[str, int | None], str] = {}
    for reason, status, error in failed.values_list("reason", "upstream_status", "error")[:MAX_READ]:
        if error:
            texts.setdefault((reason, status), error)
    groups = failed.order_by().values_list("reason", "upstream_status").annotate(count=Count("pk"))
    for reason, status, count in groups.order_by("-count", "reason", "upstream_status"):
        yield count, _line(_why(reason, status, texts.get((reason, status), "")))


def _counts(failed: QuerySet[Turn], column: str) -> str:
    """Count the turns by a column, the most frequent first: ``15 ann, 3 bob``."""
    groups = failed.order_by().values_list(column).annotate(count=Count("pk")).order_by("-count", column)
    listed = list(groups[: MAX_COUNTS + 1])
    words = [f"{count} {_line(name) or '(none)'}" for name, count in listed[:MAX_COUNTS]]
    return ", ".join([*words, "…"] if len(listed) > MAX_COUNTS else words)


def _row(turn: Turn) -> tuple[str, ...]:
    message = textwrap.shorten(turn.message, MESSAGE_CHARACTERS, placeholder=" …")
    cells = (
        f"{turn.ended_at:%m-%d %H:%M:%S}",
        turn.session_id,
        turn.subject,
        message,
        _why(turn.reason, turn.upstream_status, turn.error),
    )
    return tuple(map(_line, cells))


def _line(text: str) -> str:
    """Write a stranger's text on one line."""
    return " ".join(printable(text).split())


def _why(reason: str, status: int | None, error: str) -> str:
    """Say the code, the status of the agent's response, and the agent's or the connection's words."""
    return f"{reason}{'' if status is None else f' (HTTP {status})'}{': ' if error else ''}{error}"
