"""Transcripts, on every database: what is written, and what happens when the database is slow, locked or gone."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from relay.exceptions import StoreUnavailable
from relay.models import Turn
from relay.transcripts import writer as transcripts_
from relay.transcripts.rows import EndedTurn
from relay.transcripts.writer import Transcripts
from tests.scraping import here

LIMIT_SECONDS = 60


@pytest.fixture
async def unstarted(database, settings, monkeypatch):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "true"}
    monkeypatch.setattr(transcripts_, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(transcripts_, "LAST_SECONDS", LIMIT_SECONDS)  # so the thread ends with its test
    writer = Transcripts()
    yield writer
    await writer.stop()


@pytest.fixture
async def transcripts(unstarted):
    unstarted.start()
    return unstarted


def ended(turn_id="t1", **fields):
    given = {
        "turn_id": turn_id,
        "session_id": "s",
        "subject": None,
        "message": {"type": "user_message", "content": "What?"},
        "answer": "That.",
        "reason": "answered",
        "tokens": 1,
        "input_tokens": None,
        "output_tokens": None,
        "first_token_seconds": 0.25,
        "duration_seconds": 0.5,
        "started_at": datetime.now(UTC),
        "ended_at": datetime.now(UTC),
    }
    return EndedTurn(**{**given, **fields})


async def rows():
    return await in_thread(lambda: list(Turn.objects.all()))


async def execute(statement):
    def run():
        with connection.cursor() as cursor:
            cursor.execute(statement)

    await in_thread(run)


async def in_thread(ask):
    """Ask the database over a connection of its own."""

    def run():
        try:
            return ask()
        finally:
            connection.close()

    return await sync_to_async(run, thread_sensitive=False)()


async def test_ended_turn_is_written_as_it_was(transcripts):
    turn = ended(subject="ann")
    transcripts.keep(turn)
    await transcripts.flush(LIMIT_SECONDS)
    [row] = await rows()
    assert (row.turn_id, row.session_id, row.subject, row.message, row.answer) == ("t1", "s", "ann", "What?", "That.")
    assert (row.reason, row.tokens, row.first_token_seconds, row.duration_seconds) == ("answered", 1, 0.25, 0.5)
    assert (row.started_at, row.ended_at) == (turn.started_at, turn.ended_at)
    assert row.worker == transcripts_.rows.worker()


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"answer": r"a \"quoted\" word\n"}, {"answer": 'a "quoted" word\n'}),
        ({"answer": r"\ud83d\ude00 and \ud83d"}, {"answer": "😀 and \ufffd"}),
        ({"answer": r"a\u0000b"}, {"answer": "a\ufffdb"}),
        ({"answer": ""}, {"answer": ""}),
        ({"message": {"type": "user_message", "content": "\ud83d\0"}}, {"message": "\ufffd\ufffd"}),
        ({"message": {"type": "tool_result", "ok": True}}, {"message": '{"type":"tool_result","ok":true}'}),
        ({"message": {"type": "user_message", "content": 5}}, {"message": '{"type":"user_message","content":5}'}),
        ({"subject": "x" * 300}, {"subject": "x" * 255}),
        ({"input_tokens": 0, "output_tokens": 2**62}, {"input_tokens": 0, "output_tokens": 2**62}),
        ({}, {"input_tokens": None, "output_tokens": None}),
        ({"tokens": None, "started_at": None, "duration_seconds": None}, {"tokens": None, "started_at": None}),
    ],
)
async def test_every_text_finds_its_place(transcripts, fields, shown):
    transcripts.keep(ended(**fields))
    await transcripts.flush(LIMIT_SECONDS)
    [row] = await rows()
    assert {name: getattr(row, name) for name in shown} == shown


async def test_turn_that_is_there_already_stays_and_does_not_spoil_its_batch(transcripts):
    transcripts.keep(ended(answer="first"))
    transcripts.keep(ended(answer="second"))
    transcripts.keep(ended("t2"))
    await transcripts.flush(LIMIT_SECONDS)
    assert {row.turn_id: row.answer for row in await rows()} == {"t1": "first", "t2": "That."}


async def test_many_turns_are_written_in_batches(transcripts):
    for number in range(3 * transcripts_.MAX_BATCH):
        transcripts.keep(ended(f"t{number}"))
    await transcripts.flush(LIMIT_SECONDS)
    assert len(await rows()) == 3 * transcripts_.MAX_BATCH


async def test_turns_that_end_within_a_moment_are_written_in_one_batch(transcripts, monkeypatch):
    monkeypatch.setattr(transcripts_, "GATHER_SECONDS", LIMIT_SECONDS)
    batches = []
    monkeypatch.setattr(transcripts_.rows, "write", batches.append)
    for number in range(3):
        transcripts.keep(ended(f"t{number}"))
        assert await rows() == []  # as long as a thread takes to look
    await transcripts.flush(LIMIT_SECONDS)  # which waits for no others
    assert [[turn.turn_id for turn in batch] for batch in batches] == [["t0", "t1", "t2"]]


async def test_a_turn_is_written_without_any_that_follow(transcripts):
    transcripts.keep(ended())
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await rows():
            await asyncio.sleep(0.01)


async def test_erasing_a_session_takes_also_what_waits_but_nothing_later_and_no_other(transcripts):
    transcripts.keep(ended("waiting"))
    transcripts.keep(ended("other", session_id="other"))
    transcripts.keep(ended("later", ended_at=datetime.now(UTC) + timedelta(minutes=1)))
    assert await transcripts.erase("s") == 1
    assert {row.turn_id for row in await rows()} == {"other", "later"}


async def test_stop_writes_what_waits(transcripts):
    transcripts.keep(ended())
    await transcripts.stop()
    assert len(await rows()) == 1


async def test_without_transcripts_nothing_touches_the_database(settings):
    """No database is set up here: the first query would fail the test."""
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "false"}
    writer = Transcripts()
    writer.start()
    writer.keep(ended())
    assert await writer.erase("s") == 0
    await writer.stop()
    assert not writer.is_on


@pytest.fixture
def locked(kind, database):
    """Somebody else holds the table, until ``release`` is called."""
    if kind == "sqlite":
        other = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(database)
        other.execute("LOCK TABLE relay_turn")
    yield other
    other.close()


async def test_locked_database_makes_turns_wait_and_then_takes_them(locked, transcripts):
    for number in range(5):
        transcripts.keep(ended(f"t{number}"))
    await transcripts.flush(0.05)
    assert transcripts._turns == 5
    locked.rollback()
    await transcripts.flush(LIMIT_SECONDS)
    assert len(await rows()) == 5


async def test_what_there_is_no_room_for_is_counted_and_told_once(locked, transcripts, monkeypatch, caplog):
    monkeypatch.setattr(transcripts_, "MAX_WAITING_TURNS", 2)
    before = here()
    for number in range(5):
        transcripts.keep(ended(f"t{number}"))
    assert here().since(before)['gateway_transcripts_dropped_total{cause="full"}'] == 3
    assert caplog.text.count("its queue is full") == 1
    locked.rollback()
    await transcripts.flush(LIMIT_SECONDS)
    assert len(await rows()) == 2


async def test_long_answers_count_by_their_characters(locked, transcripts, monkeypatch):
    monkeypatch.setattr(transcripts_, "MAX_WAITING_CHARACTERS", 10)
    transcripts.keep(ended("t1", answer="x" * 8))
    transcripts.keep(ended("t2", answer="x" * 8))
    transcripts.keep(ended("t3", answer="x" * 2))
    locked.rollback()
    await transcripts.flush(LIMIT_SECONDS)
    assert {row.turn_id for row in await rows()} == {"t1", "t3"}


async def test_database_that_fails_loses_turns_with_one_line_and_takes_later_ones(transcripts, monkeypatch, caplog):
    before = here()
    await execute("ALTER TABLE relay_turn RENAME TO hidden")
    with monkeypatch.context() as patch:
        patch.setattr("relay.transcripts.rows.has_table", lambda: True)  # so it fails in a way of its own
        for number in range(3):
            transcripts.keep(ended(f"t{number}"))
            await transcripts.flush(LIMIT_SECONDS)
        with pytest.raises(StoreUnavailable):
            await transcripts.erase("s")
    await execute("ALTER TABLE hidden RENAME TO relay_turn")
    assert here().since(before)['gateway_transcripts_dropped_total{cause="failed"}'] == 3
    assert caplog.text.count("transcripts lost") == 1
    transcripts.keep(ended("later"))
    await transcripts.flush(LIMIT_SECONDS)
    assert [row.turn_id for row in await rows()] == ["later"]
    assert "written again" in caplog.text


async def test_bug_while_writing_does_not_end_the_writer(transcripts):
    transcripts.keep(ended(answer='no "JSON'))
    await transcripts.flush(LIMIT_SECONDS)
    transcripts.keep(ended("t2"))
    await transcripts.flush(LIMIT_SECONDS)
    assert [row.turn_id for row in await rows()] == ["t2"]


@pytest.mark.parametrize("is_migrated", [False], indirect=True)
async def test_database_without_tables_is_named_at_the_start_and_has_nothing_to_erase(unstarted, caplog):
    unstarted.start()  # here: what a thread says between a fixture and its test is in nobody's log
    unstarted.keep(ended())
    await unstarted.flush(LIMIT_SECONDS)
    assert await unstarted.erase("s") == 0
    assert "manage.py migrate" in caplog.text


async def test_flush_ends_also_when_the_database_does_not(locked, transcripts, caplog):
    transcripts.keep(ended())
    async with asyncio.timeout(LIMIT_SECONDS):
        await transcripts.flush(0.01)
    assert "transcripts not written in time: 1" in caplog.text
    locked.rollback()
