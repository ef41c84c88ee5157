"""A session's history out of its log, for every backend; without transcripts."""

import pytest

from relay.exceptions import StoreUnavailable, UpstreamEof
from relay.layers.bounds import Bounds
from relay.protocol import frames
from relay.testing.turns import S, answer, enqueue, say, start
from relay.transcripts import history
from relay.transcripts.history import History
from relay.transcripts.writer import Transcripts


@pytest.fixture
def configure(settings):
    def change(**texts):
        settings.GATEWAY = {**settings.GATEWAY, **texts}

    change(AGENT_HISTORY="3")
    return change


async def before(layer, turn):
    return [(kept.message, kept.answer) for kept in await History(layer, Transcripts()).before(turn)]


async def test_a_first_turn_has_none(layer, configure):
    assert await before(layer, await start(layer)) == []


async def test_the_last_ended_turns_are_given_the_oldest_first_without_the_one_that_runs(layer, configure):
    for number in range(5):
        await answer(layer, f"q{number}", "a", str(number))
    turn = await start(layer, "now")
    await say(layer, turn, "x")
    await enqueue(layer, "later")
    assert await before(layer, turn) == [("q2", "a2"), ("q3", "a3"), ("q4", "a4")]


@pytest.mark.parametrize("page", [1, 2, 3, 7, 256])
async def test_a_log_is_read_in_pages_of_any_size(layer, configure, monkeypatch, page):
    monkeypatch.setattr(history, "PAGE_FRAMES", page)
    for number in range(4):
        await answer(layer, f"q{number}", *"abcde")
    assert await before(layer, await start(layer)) == [(f"q{number}", "abcde") for number in (1, 2, 3)]


async def test_a_turn_whose_head_is_trimmed_is_left_out(store, configure):
    layer = await store.layer(Bounds(max_frames=9))
    await answer(layer, "one", *"abcde")
    await answer(layer, "two", *"fg")
    turn = await start(layer)
    assert await before(layer, turn) == [("two", "fg")]


async def test_stopped_and_failed_turns_count_if_they_have_text(layer, configure):
    for content, text, end in (
        ("a", "1", frames.final),
        ("b", "", frames.final),
        ("c", "3", _error),
        ("d", "", _error),
    ):
        turn = await start(layer, content)
        if text:
            await say(layer, turn, text)
        if end is frames.final:
            await layer.cancel(S, turn.turn_id)
        await layer.finish(turn, end(turn.turn_id))
    assert await before(layer, await start(layer)) == [("a", "1"), ("c", "3")]


def _error(turn_id):
    return frames.error(turn_id, UpstreamEof())


async def test_only_as_much_of_the_log_is_read_as_is_needed(layer, configure, monkeypatch):
    configure(AGENT_HISTORY="1")
    monkeypatch.setattr(history, "PAGE_FRAMES", 4)
    read, sizes = layer.read, []

    async def counted(session_id, after, limit, subject=None):
        found = await read(session_id, after, limit, subject)
        sizes.append(len(found))
        return found

    for number in range(9):
        await answer(layer, f"q{number}", "a", "b")
    turn = await start(layer)
    monkeypatch.setattr(layer, "read", counted)
    assert await before(layer, turn) == [("q8", "ab")]
    assert sizes == [4]


async def test_a_bound_in_characters_leaves_out_whole_turns(layer, configure):
    configure(AGENT_HISTORY_CHARACTERS="6")
    for number in range(3):
        await answer(layer, f"q{number}", "a")
    assert await before(layer, await start(layer)) == [("q1", "a"), ("q2", "a")]


async def test_without_history_nothing_is_read(layer, configure, monkeypatch):
    configure(AGENT_HISTORY="0")
    await answer(layer, "q", "a")
    turn = await start(layer)
    with monkeypatch.context() as patch:
        patch.setattr(layer, "get", None)
        assert await before(layer, turn) == []


async def test_a_store_that_fails_costs_the_history_and_not_the_turn(layer, configure, monkeypatch, caplog):
    caplog.set_level("INFO", "relay")
    monkeypatch.setattr(history, "PAGE_FRAMES", 3)
    await answer(layer, "one", "a")
    await answer(layer, "two", "b")
    turn, read, calls = await start(layer), layer.read, []

    async def fails_later(*args):
        calls.append(args)
        if len(calls) > 1:
            raise StoreUnavailable
        return await read(*args)

    monkeypatch.setattr(layer, "read", fails_later)
    assert await before(layer, turn) == [("two", "b")]
    assert "history incomplete: store_unavailable" in caplog.text


async def test_a_session_that_is_gone_has_none(layer, configure):
    await answer(layer, "one", "a")
    turn = await start(layer)
    await layer.delete(S)
    assert await before(layer, turn) == []
