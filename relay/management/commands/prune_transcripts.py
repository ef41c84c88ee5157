"""``manage.py prune_transcripts``: erase old transcripts."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management.base import BaseCommand
from django.db.models import Q, QuerySet

from relay.management.help import with_examples
from relay.management.transcripts import age, refusal_said
from relay.models import Conversation, Turn
from relay.transcripts.rows import erase_some

HELP = """Erase turns that ended, and conversations last used, before the age --older-than, or all turns of one session.

Meant for a nightly timer; GATEWAY__TRANSCRIPT_DAYS does the same without one. It erases in small batches, so it
disturbs neither the gateway nor the admin, and it may be stopped and started again.

exit codes: 0 done, 1 the database refused, 2 wrong usage.
"""
EXAMPLES = """examples:
  manage.py prune_transcripts --older-than 30d            everything older than thirty days
  manage.py prune_transcripts --older-than 12h --dry-run  only count it
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
        what.add_argument("--session", metavar="ID", help="all turns of this session")
        parser.add_argument("--dry-run", action="store_true", help="only count, erase nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Count or erase. (Arguments are Django's.)"""
        turns, conversations = _chosen(options)
        with refusal_said():
            count = turns.count() if options["dry_run"] else _erase(turns)
            if not options["dry_run"]:
                _erase(conversations)
        self.stdout.write(f"{count} transcripts {'would be erased' if options['dry_run'] else 'erased'}.")


def _chosen(options: dict[str, Any]) -> tuple[QuerySet[Turn], QuerySet[Conversation]]:
    """Choose the rows to erase. (Options are Django's.)"""
    if options["session"] is not None:
        chosen = Q(session_id=options["session"])
        return Turn.objects.filter(chosen), Conversation.objects.filter(chosen)
    before = datetime.now(UTC) - options["older_than"]
    return Turn.objects.filter(ended_at__lt=before), Conversation.objects.filter(updated__lt=before)


def _erase(found: Any) -> int:  # Any: a query, which django-stubs types by its annotations
    count = 0
    while erased := erase_some(found, BATCH):
        count += erased
    return count
