"""The start page: whether answers flow, and which failed in the last minutes, by reason."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count

from relay.admin.links import ending, turns_url
from relay.admin.reasons import words_of
from relay.conf import conf
from relay.models import FAILED, Turn

SPAN: Final = timedelta(minutes=15)
MAX_COUNTED: Final = 5_000  # failed turns, the newest

Context = dict[str, Any]  # for the template


class Failure(msgspec.Struct, frozen=True):
    """The turns of the last minutes that failed for one reason; ``error`` is what the newest one tells."""

    words: str
    turns: int
    sessions: int
    users: int
    error: str
    url: str


def overview(user: User | AnonymousUser) -> Context:
    """Describe the last minutes, as far as the user may see them."""
    context = {"may_watch": user.has_perm("relay.view_livesession"), "may_read": user.has_perm("relay.view_turn")}
    return {**context, **_turns()} if context["may_read"] else context


def _turns() -> Context:
    since = datetime.now(UTC) - SPAN
    ended = Turn.objects.order_by().filter(ended_at__gte=since).aggregate(turns=Count("pk"))
    return {
        "has_transcripts": conf.transcripts,
        "ended_turns": ended["turns"],
        "failed_turns": Turn.objects.filter(FAILED, ended_at__gte=since).count(),
        "failures": _failures(since),
        "failed_url": turns_url(reason="failed", last="15m"),
    }


def _failures(since: datetime) -> list[Failure]:
    """Group the newest failed turns by code and by status of the agent, the most frequent first."""
    failed = Turn.objects.filter(FAILED, ended_at__gte=since)
    columns = failed.values_list("reason", "upstream_status", "session_id", "subject", "error")
    groups: defaultdict[tuple[str, int | None], list[tuple[str, str, str]]] = defaultdict(list)
    for reason, status, session_id, subject, error in columns[:MAX_COUNTED]:
        groups[reason, status].append((session_id, subject, error))
    return [_failure(*key, rows) for key, rows in sorted(groups.items(), key=lambda group: -len(group[1]))]


def _failure(reason: str, status: int | None, rows: list[tuple[str, str, str]]) -> Failure:
    sessions, subjects, errors = zip(*rows, strict=True)
    return Failure(
        words=words_of(reason, status),
        turns=len(rows),
        sessions=len(set(sessions)),
        users=len({subject for subject in subjects if subject}),
        error=next(filter(None, errors), ""),
        url=turns_url(**ending(reason, status), last="15m"),
    )
