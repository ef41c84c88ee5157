"""``tail``: stored frames, then new ones: never a hole, never a duplicate, or a gap that is reported."""

import asyncio
import contextlib
import itertools

import pytest

from relay.exceptions import SessionDeleted, TurnCancelled
from relay.layers.bounds import Bounds
from relay.layers.live import MAX_PUSHED_FRAMES
from relay.layers.values import new_id
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.protocol.frames import ReplayGap
from relay.testing.turns import (
    LIMIT_SECONDS,
    S,
    answer,
    append_twice,
    cursor_at,
    enqueue,
    say,
    settled,
    start,
    stop,
    tailing,
    tokens,
    whole_log,
)


async def test_tail_gives_what_is_there_then_what_comes(layer, peer):
    turn = await start(layer)
    async with tailing(peer, await cursor_at(peer, 0)) as tail:
        await tail.has(1)
        await say(layer, turn, "a", "b")
        await tail.has(3)
        await stop(layer, turn)
        await tail.has(4)
        assert tail.shown == ["user:hi", "token:a", "token:b", "final:stop"]
        assert tail.offsets == [1, 2, 3, 4]


async def test_tail_of_an_idle_session_waits_for_the_first_frame(layer, peer):
    async with tailing(peer, await cursor_at(peer, 0)) as tail:
        await enqueue(layer)
        assert tail.frames == []
        await start(layer, "ho")
        await tail.has(1)
        assert tail.shown == ["user:hi"]


@pytest.mark.parametrize("after", [0, 1, 3, 4])
async def test_tail_begins_after_its_cursor(layer, after):
    turn = await start(layer)
    await say(layer, turn, "a", "b", "c")
    async with tailing(layer, await cursor_at(layer, after)) as tail:
        await stop(layer, turn)
        await tail.has(5 - after)
        assert tail.offsets == list(range(after + 1, 6))


async def test_tail_of_a_long_log_is_whole(layer):
    turn = await start(layer)
    await say(layer, turn, *(str(i) for i in range(1_000)))
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await tail.has(1_001)
        await say(layer, turn, "end")
        await tail.has(1_002)
        assert tail.offsets == list(range(1, 1_003))


@pytest.mark.parametrize("ends", [False, True])
async def test_what_is_appended_while_a_viewer_takes_what_is_there_is_seen_once(layer, peer, ends):
    """It has been given what is there, and has not come back for what comes."""
    turn = await start(layer)
    seen = []
    async with contextlib.aclosing(peer.tail(S, await cursor_at(peer, 0))) as batches:
        for text in "abc":
            seen += await anext(batches)
            await say(layer, turn, text)
        if ends:
            await stop(layer, turn)
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(seen) < 4 + ends:
                seen += await anext(batches)
    assert seen == await whole_log(layer)


async def test_every_viewer_sees_the_same_offsets(layer, peer):
    async with contextlib.AsyncExitStack() as stack:
        start_append = await cursor_at(layer, 0)
        tails = [await stack.enter_async_context(tailing((layer, peer)[i % 2], start_append)) for i in range(4)]
        await answer(layer, "hi", *"abc")
        for tail in tails:
            await tail.has(5)
            assert tail.frames == await whole_log(layer)


async def test_a_repeated_append_is_shown_once(layer):
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 1)) as tail:
        await append_twice(layer, turn, tokens(turn, "a"))
        await append_twice(layer, turn, tokens(turn, "b"))
        await tail.has(2)
        assert tail.shown == ["token:a", "token:b"]


@pytest.mark.parametrize("has_news", [False, True], ids=["before it", "after more"])
@pytest.mark.parametrize("is_refused", [False, True], ids=["with a position", "after a refusal"])
async def test_a_repetition_of_other_frames_shows_what_is_stored(layer, peer, is_refused, has_news):
    """The store keeps what came first under a number; so do viewers where the turn runs, and elsewhere."""
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 0)) as here, tailing(peer, await cursor_at(peer, 0)) as there:
        for tail in (here, there):
            await tail.has(1)
        await say(layer, turn, "stored")
        if has_news:
            for tail in (here, there):
                await tail.has(2)
        if is_refused:
            await layer.cancel(S)
            with pytest.raises(TurnCancelled):
                await say(layer, turn, "refused")
        turn.append_number = 0
        assert await layer.append(turn, tokens(turn, "never stored")) == 2
        await stop(layer, turn)
        for tail in (here, there):
            await tail.has(3)
            assert tail.shown[:2] == ["user:hi", "token:stored"]
            assert tail.frames == await whole_log(layer)


async def test_tail_sees_only_its_own_session(layer):
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await answer(layer, "other", session_id="other")
        await answer(layer, "mine")
        await tail.has(2)
        assert tail.shown == ["user:mine", "final:stop"]


async def test_tail_goes_on_through_a_takeover(store, layer, peer):
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await say(layer, turn, "a")
        await store.advance(100)
        await stop(peer, await peer.claim(S, new_id()))
        await tail.has(3)
        assert tail.shown == ["user:hi", "token:a", "final:stop"]


# Gaps.


@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [
        ("same", 2, "trimmed"),
        ("same", 0, "trimmed"),
        ("same", 9, "epoch_changed"),
        ("other", 8, "epoch_changed"),
        ("", 0, "epoch_changed"),
    ],
)
async def test_tail_from_a_position_that_cannot_be_served_reports_a_gap(store, epoch, offset, reason):
    layer = await store.layer(Bounds(max_frames=5))
    await answer(layer, "hi", *"abcdef")  # 4 to 8 are kept
    cursor = await cursor_at(layer, offset) if epoch == "same" else Cursor(epoch, offset)
    async with tailing(layer, cursor) as tail:
        error = await tail.raises()
    assert isinstance(error, ReplayGap)
    assert (error.snapshot.reason, error.snapshot.offset, error.snapshot.text) == (reason, 8, "abcdef")


async def test_tail_goes_on_after_the_snapshot(layer):
    turn = await start(layer)
    await say(layer, turn, "a")
    async with tailing(layer, UNKNOWN) as tail:
        snapshot = (await tail.raises()).snapshot
    async with tailing(layer, Cursor(snapshot.epoch, snapshot.offset)) as tail:
        await say(layer, turn, "b")
        await tail.has(1)
        assert tail.offsets == [snapshot.offset + 1]


async def test_a_viewer_that_the_trimming_overtakes_is_told(store):
    """It took a batch and was slow: when it comes for more, frames after its position are gone."""
    layer = await store.layer(Bounds(max_frames=4))
    turn = await start(layer)
    async with contextlib.aclosing(layer.tail(S, await cursor_at(layer, 0))) as batches:
        assert [frame.offset for frame in await anext(batches)] == [1]
        await say(layer, turn, *"abcd")
        assert [frame.offset for frame in await anext(batches)] == [2, 3, 4, 5]  # oldest − 1: nothing lost
        await say(layer, turn, *"efghi")
        with pytest.raises(ReplayGap) as gap:  # oldest − 2
            await anext(batches)
    assert (gap.value.snapshot.text, gap.value.snapshot.offset) == ("abcdefghi", 10)


# Ends.


async def test_tail_of_a_deleted_session_says_so(layer, peer):
    await answer(layer)
    async with tailing(peer, await cursor_at(peer, 1)) as tail:
        await tail.has(1)
        await layer.delete(S)
        assert isinstance(await tail.raises(), SessionDeleted)


async def test_tail_that_was_closed_leaves_the_others_whole(layer):
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 1)) as stays:
        async with tailing(layer, await cursor_at(layer, 1)) as leaves:
            await say(layer, turn, "a")
            await leaves.has(1)
        await say(layer, turn, "b")
        await stays.has(2)
    await say(layer, turn, "c")
    assert leaves.offsets == [2]


async def test_a_viewer_of_a_session_that_is_forgotten_is_told_of_the_gap(store, layer):
    await answer(layer)
    async with tailing(layer, await cursor_at(layer, 2)) as tail:
        await asyncio.sleep(0)
        await store.forget(S)
        await enqueue(layer)
        error = await tail.raises()
    assert isinstance(error, ReplayGap)
    assert (error.snapshot.turn_id, error.snapshot.offset) == (None, 0)


# Frames that are accepted in the call that appends them.


async def test_a_waiting_tail_pushes_frames_and_gives_those_of_a_large_append(layer):
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 0), takes=True) as tail:
        await tail.has(1)
        await settled(layer)
        await say(layer, turn, "a")
        await say(layer, turn, "b")
        assert tail.taken == [2, 3], "each in the call that appended it"
        await say(layer, turn, "c", "d")
        assert tail.taken == [2, 3, 4, 5], "together"
        await say(layer, turn, *"x" * (MAX_PUSHED_FRAMES + 1))
        await tail.has(38)
        assert tail.taken == [2, 3, 4, 5], "so many are read from the log"
        await settled(layer)
        await stop(layer, turn)
        assert tail.taken == [2, 3, 4, 5, 39]
        assert tail.offsets == list(range(1, 40))


async def test_what_a_taker_refuses_is_given_once_and_in_order(layer, peer):
    turn = await start(layer)
    moods = itertools.cycle([True, False, True, True, False, False])
    async with (
        tailing(layer, await cursor_at(layer, 0), takes=lambda: next(moods)) as tail,
        tailing(peer, await cursor_at(layer, 0), takes=lambda: next(moods)) as other,
    ):
        for number in range(100):
            await say(layer, turn, str(number))
            if number % 3:
                await settled(layer)
        await stop(layer, turn)
        for each in (tail, other):
            await each.has(102)
            assert each.offsets == list(range(1, 103))
            assert 0 < len(each.taken) < 102


async def test_nothing_is_offered_to_a_tail_that_was_cancelled(layer):
    turn = await start(layer)
    async with tailing(layer, await cursor_at(layer, 1), takes=True) as tail:
        await settled(layer)
        tail.cancel()
        await say(layer, turn, "a")
        assert tail.taken == []


async def test_a_new_epoch_is_not_taken_for_the_old_one(store, layer):
    """The first frame of an epoch follows the place where the viewer of an empty log waits, but not in its epoch."""
    turn = await start(layer)
    await store.forget(S)
    async with tailing(layer, await cursor_at(layer, 0), takes=True) as tail:
        await settled(layer)
        await layer.reset(turn, "so far")
        assert isinstance(await tail.raises(), ReplayGap)
        assert tail.taken == []
