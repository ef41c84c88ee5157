"""``finish``: exactly one end, the stored one."""

import pytest

from relay.exceptions import LeaseLost, UpstreamEof
from relay.layers.bounds import Bounds
from relay.protocol import frames
from relay.testing.turns import LEASE_SECONDS, S, answer, claim, enqueue, log, say, shown, start, stop


async def test_finish_appends_the_terminal_and_frees_the_lease(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    terminal = await layer.finish(turn, frames.final(turn.turn_id, "length"))
    assert (shown(terminal), terminal.offset) == ("final:length", 2)
    assert (await layer.ensure(S)).active_turn_id is None
    assert (await claim(layer)).message["content"] == "b"
    assert await log(layer) == ["user:a", "final:length", "user:b"]


async def test_finish_stores_an_error_with_all_its_members(layer):
    turn = await start(layer)
    terminal = await layer.finish(turn, frames.error(turn.turn_id, UpstreamEof()))
    assert terminal.v1 == (
        '{"type":"error","content":"The answer was cut off. Try again.",'
        '"code":"upstream_eof",'
        f'"turn_id":"{turn.turn_id}","offset":2}}'
    )


async def test_finish_repeated_after_a_lost_reply_ends_once(layer):
    turn = await start(layer)
    first = await stop(layer, turn)
    assert await stop(layer, turn) == first
    assert await log(layer) == ["user:hi", "final:stop"]


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_finish_notes_whether_another_message_waits(layer, waiting):
    turn = await start(layer)
    assert not turn.is_last
    for _ in range(waiting):
        await enqueue(layer)
    await stop(layer, turn)
    assert turn.is_last == (waiting == 0)


async def test_finish_repeated_after_a_lost_reply_notes_what_waits_by_then(layer):
    turn = await start(layer)
    await stop(layer, turn)
    await enqueue(layer)
    await stop(layer, turn)
    assert not turn.is_last
    await claim(layer)
    await stop(layer, turn)
    assert turn.is_last


async def test_finish_that_is_refused_notes_nothing(store, layer):
    turn = await start(layer)
    await store.advance(LEASE_SECONDS)
    await claim(layer)
    with pytest.raises(LeaseLost):
        await stop(layer, turn)
    assert not turn.is_last


async def test_finish_repeated_with_another_terminal_gives_the_stored_one(layer):
    turn = await start(layer)
    await stop(layer, turn)
    assert shown(await layer.finish(turn, frames.error(turn.turn_id, UpstreamEof()))) == "final:stop"
    assert await log(layer) == ["user:hi", "final:stop"]


async def test_finish_repeated_while_the_next_turn_runs_disturbs_nothing(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    await stop(layer, turn)
    following = await claim(layer)
    assert shown(await stop(layer, turn)) == "final:stop"
    await say(layer, following, "x")
    assert await log(layer) == ["user:a", "final:stop", "user:b", "token:x"]


@pytest.mark.parametrize("terminal", ["stop", "length", "error"])
async def test_finish_of_a_cancelled_turn_is_cancelled_whatever_was_asked(layer, terminal):
    turn = await start(layer)
    await layer.cancel(S)
    asked = frames.error(turn.turn_id, UpstreamEof()) if terminal == "error" else frames.final(turn.turn_id, terminal)
    stored = await layer.finish(turn, asked)
    assert (shown(stored), stored.offset) == ("final:cancelled", 2)
    assert await layer.finish(turn, asked) == stored
    assert await log(layer) == ["user:hi", "final:cancelled"]


async def test_cancel_after_the_end_leaves_the_end_as_it_was(layer):
    turn = await answer(layer)
    await layer.cancel(S, turn.turn_id)
    assert shown(await stop(layer, turn)) == "final:stop"


async def test_finish_of_a_turn_that_is_no_longer_remembered_has_lost_its_lease(store):
    layer = await store.layer(Bounds(max_remembered_turns=1))
    turn = await answer(layer)
    await answer(layer)
    with pytest.raises(LeaseLost):
        await stop(layer, turn)
    assert await log(layer) == ["user:hi", "final:stop"] * 2
