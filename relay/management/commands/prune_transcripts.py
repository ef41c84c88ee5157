"""``manage.py prune_transcripts``: erase old transcripts."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand

from relay.management.help import with_examples
from relay.management.transcripts import age, refusal_said
from relay.models import Turn

HELP = """Erase the transcripts of turns that ended longer ago than --older-than, or all of one session.

Meant for a nightly timer. It erases some at a time, so it disturbs neither the gateway nor the admin, and it may be
stopped and started again. exit codes: 0 done, 1 the database refused, 2 wrong usage.
"""
EXAMPLES = """examples:
  manage.py prune_transcripts --older-than 30d            what is older than thirty days
  manage.py prune_transcripts --older-than 12h --dry-run  only count
  manage.py prune_transcripts --session s-123             all of one conversation
"""
BATCH: Final = 1_000


class Command(BaseCommand):
    """Erases in batches."""

    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Show examples under the help. (``kwargs`` are Django's.)"""
        return with_examples(super().create_parser(prog_name, subcommand, **kwargs), EXAMPLES)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say what to erase."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--older-than", type=age, metavar="AGE", help="for example 90m, 12h, 30d or 8w")
        what.add_argument("--session", metavar="ID", help="all of this session")
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count or erase. (Arguments are Django's.)"""
        old = Turn.objects.order_by()
        if options["session"] is not None:
            old = old.filter(session_id=options["session"])
        else:
            old = old.filter(ended_at__lt=datetime.now(UTC) - options["older_than"])
        with refusal_said():
            count = old.count() if options["dry_run"] else self._erase(old)
        self.stdout.write(f"{count} transcripts {'would be erased' if options['dry_run'] else 'erased'}.")

    def _erase(self, old: Any) -> int:  # Any: a query, which django-stubs types by its annotations
        count = 0
        while names := list(old.values_list("pk", flat=True)[:BATCH]):
            count += Turn.objects.filter(pk__in=names).delete()[0]
        return count
