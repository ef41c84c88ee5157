"""Bounds: how much of a log is kept, for how long, and which part is dropped first."""

import pytest

from relay.layers.bounds import Bounds
from relay.layers.values import CancelAck, CancelStatus
from relay.protocol.cursor import UNKNOWN
from relay.testing.turns import S, answer, claim, cursor_at, enqueue, gap_at, log, say, start, stop, whole_log

TTL_SECONDS = 100.0


async def epoch(layer, session_id=S):
    return (await layer.ensure(session_id)).epoch


# Frames and bytes of one log.


async def test_a_log_at_its_frame_limit_is_whole_and_one_over_loses_the_oldest(store):
    layer = await store.layer(Bounds(max_frames=4))
    turn = await start(layer)
    await say(layer, turn, "a", "b", "c")
    assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]
    await say(layer, turn, "d")
    assert await log(layer) == ["token:a", "token:b", "token:c", "token:d"]
    assert (await layer.ensure(S)).oldest == 2


async def test_a_log_at_its_byte_limit_is_whole_and_one_over_loses_the_oldest(store):
    measured = await store.layer(Bounds())
    await answer(measured, "hi", "a", "b")
    size = sum(frame.size for frame in await whole_log(measured))
    for max_bytes, oldest in ((size, 1), (size - 1, 2)):
        layer = await store.layer(Bounds(max_bytes=max_bytes))
        await answer(layer, "hi", "a", "b")
        assert ((await layer.ensure(S)).oldest, (await layer.ensure(S)).newest) == (oldest, 4)


async def test_one_append_may_be_larger_than_the_log(store):
    layer = await store.layer(Bounds(max_frames=3))
    turn = await start(layer)
    assert await say(layer, turn, *"abcdef") == 7
    assert await log(layer) == ["token:d", "token:e", "token:f"]
    assert (await gap_at(layer, await cursor_at(layer, 3))).text == "abcdef"


async def test_a_frame_larger_than_the_log_leaves_an_empty_log_and_the_text(store):
    layer = await store.layer(Bounds(max_bytes=200))
    turn = await start(layer)
    await say(layer, turn, "x" * 500)
    state = await layer.ensure(S)
    assert (state.oldest, state.newest) == (3, 2)
    assert await layer.read(S, await cursor_at(layer, 2), 10) == []
    assert (await gap_at(layer, await cursor_at(layer, 1))).text == "x" * 500
    await say(layer, turn, "y")
    assert await log(layer) == ["token:y"]


async def test_a_log_goes_on_for_long_after_it_was_trimmed(store):
    layer = await store.layer(Bounds(max_frames=100))
    turn = await start(layer)
    for i in range(60):
        await say(layer, turn, *(f"{100 * i + n}," for n in range(100)))
    assert await log(layer) == [f"token:{n}," for n in range(5_900, 6_000)]
    assert (await gap_at(layer, UNKNOWN)).text == "".join(f"{n}," for n in range(6_000))


# Age.


async def use_frame(layer):
    await answer(layer)


async def use_message(layer):
    await enqueue(layer, client_message_id="one")
    await stop(layer, await claim(layer))


async def use_viewer(layer):
    await layer.attach(S, "viewer")


@pytest.mark.parametrize("use", [use_frame, use_message, use_viewer], ids=lambda f: f.__name__)
async def test_a_session_is_forgotten_ttl_seconds_after_its_last_use_and_not_before(store, use):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS, viewer_seconds=1))
    await answer(layer)
    await store.advance(TTL_SECONDS - 1)
    await use(layer)
    kept = await epoch(layer)
    await store.advance(TTL_SECONDS - 1)
    assert await epoch(layer) == kept
    await store.advance(1)
    assert await epoch(layer) != kept


async def test_an_expired_session_is_a_new_one_for_all_callers(store):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS))
    turn = await answer(layer, "hi", "a", client_message_id="one")
    cursor = await cursor_at(layer, 3)
    await store.advance(TTL_SECONDS)
    assert await layer.active("", 10) == ([], "")
    assert await layer.get(S) is None
    assert await layer.cancel(S, turn.turn_id) == CancelAck(turn.turn_id, CancelStatus.UNKNOWN)
    assert await layer.detach(S, "viewer") == 0
    assert not await layer.delete(S)
    snapshot = await gap_at(layer, cursor)
    assert (snapshot.reason, snapshot.turn_id, snapshot.offset) == ("epoch_changed", None, 0)
    assert not (await enqueue(layer, "other", client_message_id="one")).duplicate


async def test_looking_at_a_session_does_not_keep_it(store):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS))
    await answer(layer)
    kept = await epoch(layer)
    for _ in range(3):
        await store.advance(TTL_SECONDS / 4)
        assert await epoch(layer) == kept
        await whole_log(layer)
    await store.advance(TTL_SECONDS / 4)
    assert await epoch(layer) != kept


async def test_a_session_with_a_queued_turn_is_not_forgotten(store):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS))
    await enqueue(layer)
    await store.advance(10 * TTL_SECONDS)
    assert await claim(layer) is not None


async def test_a_session_with_a_turn_in_flight_is_not_forgotten(store):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS))
    turn = await start(layer)
    await store.advance(10 * TTL_SECONDS)
    await say(layer, turn, "a")
    await store.advance(10 * TTL_SECONDS)
    await stop(layer, turn)
    assert await log(layer) == ["user:hi", "token:a", "final:stop"]


# Sessions.


async def test_a_watched_session_is_forgotten_after_its_time_like_any_other(store):
    layer = await store.layer(Bounds(ttl_seconds=TTL_SECONDS, viewer_seconds=60))
    await layer.attach(S, "viewer")
    await answer(layer)
    kept = await epoch(layer)
    await store.advance(TTL_SECONDS - 1)
    assert await epoch(layer) == kept
    await store.advance(1)
    assert await epoch(layer) != kept


# Remembered turns.


async def test_the_oldest_turns_are_forgotten_first(store):
    layer = await store.layer(Bounds(max_remembered_turns=2))
    turns = [await answer(layer, client_message_id=name) for name in ("one", "two")]
    assert (await enqueue(layer, client_message_id="one")).duplicate
    turns.append(await answer(layer, client_message_id="three"))
    statuses = [(await layer.cancel(S, turn.turn_id)).status for turn in turns]
    assert statuses == [CancelStatus.UNKNOWN, CancelStatus.ALREADY_ENDED, CancelStatus.ALREADY_ENDED]
    assert (await enqueue(layer, client_message_id="two")).duplicate
    assert not (await enqueue(layer, "other", client_message_id="one")).duplicate


async def test_unfinished_turns_are_remembered_whatever_the_bound(store):
    layer = await store.layer(Bounds(max_remembered_turns=1))
    running = await start(layer, client_message_id="running")
    for name in ("b", "c"):
        await enqueue(layer, client_message_id=name)
    assert (await enqueue(layer, client_message_id="running")).turn_id == running.turn_id
    assert (await enqueue(layer, client_message_id="b")).duplicate
    await stop(layer, running)
    while (turn := await claim(layer)) is not None:
        await stop(layer, turn)
    await answer(layer, client_message_id="d")
    assert (await enqueue(layer, client_message_id="d")).duplicate
    assert not (await enqueue(layer, client_message_id="c")).duplicate
