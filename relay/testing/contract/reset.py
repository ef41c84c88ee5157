"""``reset``: the store forgot the log; the turn's text so far is kept, and its end is told."""

import pytest

from relay.exceptions import LeaseLost
from relay.protocol.cursor import Cursor
from relay.protocol.frames import ReplayGap
from relay.testing.turns import (
    S,
    answer,
    claim,
    cursor_at,
    enqueue,
    gap_at,
    log,
    run_queue,
    say,
    shown,
    start,
    tailing,
)


@pytest.fixture
async def lost(store, layer):
    """A running turn whose session the store has forgotten."""
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    await store.forget(S)
    return turn


async def test_reset_begins_an_epoch_with_the_text_so_far_and_buffer_lost(store, layer):
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    old = (await layer.ensure(S)).epoch
    await store.forget(S)
    terminal = await layer.reset(turn, "ab")
    assert (shown(terminal), terminal.offset) == ("error:buffer_lost", 1)
    state = await layer.ensure(S)
    assert (state.oldest, state.newest, state.active_turn_id) == (1, 1, None)
    assert old < state.epoch == turn.epoch
    assert await log(layer) == ["error:buffer_lost"]
    snapshot = await gap_at(layer, Cursor(old, 3))
    assert (snapshot.epoch, snapshot.offset, snapshot.reason) == (state.epoch, 1, "epoch_changed")
    assert (snapshot.turn_id, snapshot.text, shown(snapshot.terminal)) == (turn.turn_id, "ab", "error:buffer_lost")


@pytest.mark.parametrize("waiting", [0, 1])
async def test_reset_notes_whether_another_message_waits(lost, layer, waiting):
    for _ in range(waiting):
        await enqueue(layer)
    for _ in range(2):
        await layer.reset(lost, "ab")
        assert lost.is_last == (waiting == 0)


async def test_reset_keeps_text_as_it_stands_in_json(lost, layer):
    await layer.reset(lost, r"a\"\ud83d\u0000é")
    assert r'"content":"a\"\ud83d\u0000é"' in (await gap_at(layer, Cursor("", 0))).v1


async def test_reset_repeated_after_a_lost_reply_ends_once(lost, layer):
    first = await layer.reset(lost, "ab")
    epoch = (await layer.ensure(S)).epoch
    assert await layer.reset(lost, "ab") == first
    assert (await layer.ensure(S)).epoch == epoch == lost.epoch
    assert await log(layer) == ["error:buffer_lost"]


async def test_reset_of_a_turn_that_is_still_known_begins_an_epoch_too(layer):
    """The store lost some of its frames only, which the append number told."""
    turn = await start(layer)
    await say(layer, turn, "a")
    old = (await layer.ensure(S)).epoch
    await layer.reset(turn, "abc")
    snapshot = await gap_at(layer, Cursor(old, 2))
    assert (snapshot.text, snapshot.reason) == ("abc", "epoch_changed")
    assert await log(layer) == ["error:buffer_lost"]
    assert await claim(layer) is None


async def test_reset_of_a_turn_that_has_ended_gives_its_end(layer):
    turn = await answer(layer, "hi", "a")
    assert shown(await layer.reset(turn, "a")) == "final:stop"
    assert await log(layer) == ["user:hi", "token:a", "final:stop"]


async def test_reset_while_another_turn_waits_is_written_and_the_other_runs(lost, layer):
    await enqueue(layer, "next")
    await layer.reset(lost, "ab")
    assert await run_queue(layer) == ["next"]
    assert await log(layer) == ["error:buffer_lost", "user:next", "final:stop"]


async def test_reset_after_another_turn_has_started_is_refused(lost, layer):
    await start(layer, "next")
    with pytest.raises(LeaseLost):
        await layer.reset(lost, "ab")
    assert await log(layer) == ["user:next"]


async def test_reset_after_another_turn_has_ended_is_refused(lost, layer):
    await answer(layer, "next")
    with pytest.raises(LeaseLost):
        await layer.reset(lost, "ab")
    assert await log(layer) == ["user:next", "final:stop"]


async def test_reset_frees_the_session_for_the_next_turn(lost, layer):
    await layer.reset(lost, "ab")
    assert await layer.pending(10) == []
    assert (await start(layer, "next")).message["content"] == "next"


async def test_the_writes_of_a_reset_turn_are_refused(lost, layer):
    await layer.reset(lost, "ab")
    with pytest.raises(LeaseLost):
        await say(layer, lost, "c")
    with pytest.raises(LeaseLost):
        await layer.renew(lost)


async def test_a_viewer_of_the_lost_log_is_told_of_the_gap(store, layer, peer):
    turn = await start(layer)
    async with tailing(peer, await cursor_at(peer, 0)) as tail:
        await tail.has(1)
        await store.forget(S)
        await layer.reset(turn, "ab")
        assert isinstance(await tail.raises(), ReplayGap)
    assert (await gap_at(layer, Cursor("", 0))).text == "ab"
