"""The last failed turn of each live session, from the transcripts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import DatabaseError

from relay.admin.reasons import words_of
from relay.conf import conf
from relay.database.connection import limited_queries
from relay.models import FAILED, Turn

SPAN: Final = timedelta(hours=1)
MAX_TURNS: Final = 1_000  # the newest; one index has them in order
READ_SECONDS: Final = 1.0

LastError = dict[str, str]  # for the page: words, and when in ISO 8601


def last_errors() -> dict[str, LastError]:
    """Return the last error of each session in the last hour; none if the database does not tell."""
    if not conf.transcripts:
        return {}
    failed = Turn.objects.filter(FAILED, ended_at__gte=datetime.now(UTC) - SPAN)
    columns = failed.values_list("session_id", "reason", "upstream_status", "ended_at")
    try:
        with limited_queries(READ_SECONDS):
            rows = list(columns[:MAX_TURNS])
    except DatabaseError:
        return {}
    oldest_first = reversed(rows)
    return {name: {"words": words_of(code, status), "at": at.isoformat()} for name, code, status, at in oldest_first}
