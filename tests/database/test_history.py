"""A session's history out of the transcripts, on every database, and joined with its log."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from relay.layers.bounds import Bounds
from relay.layers.memory.layer import MemorySessionLayer
from relay.testing.turns import S, answer, start
from relay.transcripts import writer as writer_
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts
from tests.database.test_transcripts import LIMIT_SECONDS, ended, execute, locked

__all__ = ["locked"]  # a fixture

NOW = datetime.now(UTC)


@pytest.fixture
async def transcripts(database, settings, monkeypatch):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "true", "AGENT_HISTORY": "3"}
    monkeypatch.setattr(writer_, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(writer_, "LAST_SECONDS", LIMIT_SECONDS)  # so the thread ends with its test
    monkeypatch.setattr(writer_, "READ_SECONDS", LIMIT_SECONDS)
    writer = Transcripts()
    writer.start()
    yield writer
    await writer.stop()


def keep(transcripts, *names, **fields):
    for number, name in enumerate(names):
        transcripts.keep(ended(name, **{"ended_at": NOW + timedelta(seconds=number), "session_id": S, **fields}))


async def newest(transcripts, owner=None, limit=9):
    return [turn.turn_id for turn in await transcripts.newest(S, owner, limit)]


async def test_the_newest_turns_come_the_oldest_first_also_those_that_wait_to_be_written(transcripts):
    keep(transcripts, "t1", "t2", "t3")
    keep(transcripts, "other", session_id="other")
    assert await newest(transcripts, limit=2) == ["t2", "t3"]
    [turn] = await transcripts.newest(S, None, 1)
    assert (turn.message, turn.answer, turn.reason) == ("What?", "That.", "answered")


async def test_turns_without_text_count_only_if_they_were_answered(transcripts):
    keep(transcripts, "called", answer="")
    keep(transcripts, "stopped", answer="", reason="cancelled")
    keep(transcripts, "failed", answer="", reason="upstream_eof")
    keep(transcripts, "half", answer="a", reason="upstream_eof")
    assert sorted(await newest(transcripts)) == ["called", "half"]


@pytest.mark.parametrize(
    ("owner", "names"), [("ann", ["anns", "services"]), ("bob", ["bobs", "services"]), (None, ["services"])]
)
async def test_what_another_subject_said_in_a_session_of_the_same_name_is_not_read(transcripts, owner, names):
    keep(transcripts, "anns", subject="ann")
    keep(transcripts, "bobs", subject="bob")
    keep(transcripts, "services", subject=None)
    assert sorted(await newest(transcripts, owner)) == names


async def test_a_subject_is_found_as_it_was_written(transcripts):
    keep(transcripts, "t", subject="\ud83d" + 300 * "x")
    assert await newest(transcripts, "\ud83d" + 300 * "x") == ["t"]


async def test_a_database_that_fails_has_none(transcripts, caplog):
    caplog.set_level("INFO", "relay")
    await execute("ALTER TABLE relay_turn RENAME TO hidden")
    assert await newest(transcripts) == []
    assert "history without transcripts" in caplog.text
    await execute("ALTER TABLE hidden RENAME TO relay_turn")
    keep(transcripts, "t")
    assert await newest(transcripts) == ["t"]


async def test_a_database_that_stands_still_delays_one_turn_and_no_second(locked, transcripts, monkeypatch, caplog):
    caplog.set_level("INFO", "relay")
    keep(transcripts, "t")  # the thread waits for the table
    monkeypatch.setattr(writer_, "READ_SECONDS", 0.01)
    assert await newest(transcripts) == []
    monkeypatch.setattr(writer_, "READ_SECONDS", LIMIT_SECONDS)
    assert await newest(transcripts) == []
    assert caplog.text.count("history without transcripts: the database is slow") == 1
    locked.rollback()
    await transcripts.flush(LIMIT_SECONDS)
    assert await newest(transcripts) == ["t"]


async def test_a_process_that_stood_still_has_its_history(transcripts, monkeypatch):
    keep(transcripts, "t")
    await transcripts.flush(LIMIT_SECONDS)
    monkeypatch.setattr(writer_, "READ_SECONDS", 0.5)
    reading = asyncio.create_task(newest(transcripts))
    for _ in range(10):
        await asyncio.sleep(0)
    time.sleep(2 * writer_.READ_SECONDS)  # the thread reads meanwhile
    assert await reading == ["t"]


async def test_without_transcripts_there_are_none(database, settings):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "false"}
    writer = Transcripts()
    writer.start()
    assert await newest(writer) == []


async def test_log_and_transcripts_are_one_history(transcripts):
    layer = MemorySessionLayer(Bounds(max_frames=8))
    turns = [await answer(layer, f"q{number}", "a", str(number)) for number in range(3)]
    for number, turn in enumerate(turns[:2]):  # the writer has not got the newest; the log has lost the oldest
        ended_at = NOW + timedelta(seconds=number)
        transcripts.keep(
            ended(turn.turn_id, session_id=S, message=turn.message, answer=f"a{number}", ended_at=ended_at)
        )
    running = await start(layer)
    async with asyncio.timeout(LIMIT_SECONDS):
        found = await History(layer, transcripts).before(running)
    assert [(turn.message, turn.answer) for turn in found] == [("q0", "a0"), ("q1", "a1"), ("q2", "a2")]


async def test_transcripts_are_not_asked_where_the_log_has_enough(transcripts, monkeypatch):
    layer = MemorySessionLayer(Bounds())
    for number in range(3):
        await answer(layer, f"q{number}", "a")
    monkeypatch.setattr(transcripts, "newest", None)
    assert len(await History(layer, transcripts).before(await start(layer))) == 3
