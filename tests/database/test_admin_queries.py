"""The admin's queries are answered by indexes, however many turns there are: as each database plans them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext

from relay.admin import TurnAdmin
from relay.models import FAILED, Turn

COUNT = 20_000


@pytest.fixture
def turns(database, kind):
    now = datetime.now(UTC)
    Turn.objects.bulk_create(
        (
            Turn(
                turn_id=uuid.uuid4().hex, session_id=f"s-{number % 4_000}", subject=f"u-{number % 2_000}", message="x",
                reason="upstream_eof" if number % 50 == 0 else "answered", worker="w",
                ended_at=now - timedelta(seconds=number),
            )
            for number in range(COUNT)
        ),
        batch_size=2_000,
    )  # fmt: skip
    if kind == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE relay_turn")


CHOSEN = {
    "the failed": (lambda since: Turn.objects.filter(FAILED), "turn_failed_by_time"),
    "the failed of late": (lambda since: Turn.objects.filter(FAILED, ended_at__gte=since), "turn_failed_by_time"),
    "of late": (lambda since: Turn.objects.filter(ended_at__gte=since), "turn_by_time"),
    "a session's": (lambda since: Turn.objects.filter(session_id="s-7"), "turn_by_(session|place)"),
    "a user's": (lambda since: Turn.objects.filter(subject="u-7"), "turn_by_subject"),
    "of a result": (lambda since: Turn.objects.filter(reason="upstream_eof"), "turn_(by_reason|failed_by_time)"),
    "by its name": (lambda since: Turn.objects.filter(turn_id="x"), "turn_id"),
    "a search for a session": (lambda since: search("s-7"), "turn_by_(session|place)"),
    "a search for a user": (lambda since: search("u-7"), "turn_by_subject"),
}


def search(term):
    return TurnAdmin(Turn, admin.site).get_search_results(None, Turn.objects.all(), term)[0]


def test_an_index_answers(turns):
    since = datetime.now(UTC) - timedelta(minutes=1)
    plans = {name: (index, chosen(since)[:50].explain()) for name, (chosen, index) in CHOSEN.items()}
    assert {name: plan for name, (index, plan) in plans.items() if not re.search(index, plan)} == {}


def test_a_search_for_words_reads_all_rows_once(database):
    """The page counts what was found, counts it by user, and lists it."""
    with CaptureQueriesContext(connection) as queries:
        found = search("SELECT")
        found.count()
        list(found[:50])
    assert sum("LIKE" in query["sql"] for query in queries) == 1
