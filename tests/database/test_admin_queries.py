"""The admin's queries are answered by indexes, however many turns there are: as each database plans them."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

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


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (lambda since: Turn.objects.filter(FAILED), "turn_failed_by_time"),
        (lambda since: Turn.objects.filter(FAILED, ended_at__gte=since), "turn_failed_by_time"),
        (lambda since: Turn.objects.filter(ended_at__gte=since), "turn_by_time"),
        (lambda since: Turn.objects.filter(session_id="s-7"), "turn_by_(session|place)"),
        (lambda since: Turn.objects.filter(subject="u-7"), "turn_by_subject"),
        (lambda since: Turn.objects.filter(reason="upstream_eof"), "turn_(by_reason|failed_by_time)"),
        (lambda since: Turn.objects.filter(turn_id="x"), "turn_id"),
    ],
)
def test_an_index_answers(turns, chosen, index):
    plan = chosen(datetime.now(UTC) - timedelta(minutes=1))[:50].explain()
    assert re.search(index, plan), plan
    assert "Seq Scan" not in plan
