"""``append``: frames get the next offsets, once, however often the call is repeated."""

import asyncio
import copy

import pytest

from relay.exceptions import LeaseLost, TurnCancelled
from relay.protocol import frames
from relay.testing.turns import (
    S,
    append_twice,
    claim,
    cursor_at,
    log,
    same_frames,
    say,
    settled,
    start,
    stop,
    tailing,
    tokens,
    whole_log,
)


async def test_append_numbers_frames_on_from_the_user_message(layer):
    turn = await start(layer)
    assert await say(layer, turn, "a", "b") == 3
    assert await say(layer, turn, "c") == 4
    assert [frame.offset for frame in await whole_log(layer)] == [1, 2, 3, 4]


async def test_append_counts_its_number_up(layer):
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    await say(layer, turn, "c")
    assert turn.append_number == 2


async def test_frames_come_back_as_they_went_in(layer):
    turn = await start(layer)
    texts = ["", "plain", 'quote " and \\', "\x00\x1f", "é…😀", "\ud83d", "\u2028", "{}]"]
    events = [frames.event(turn.turn_id, {"type": "tool_call", "args": {"a": [1, None, 1.5]}})]
    notices = [frames.notice(turn.turn_id, "upstream_event_skipped", "words")]
    given = [*tokens(turn, *texts), *events, *notices]
    expected = [(frame.kind, frame.turn_id, frame.body, frame.members) for frame in given]
    await layer.append(turn, given)
    got = [(frame.kind, frame.turn_id, frame.body, frame.members) for frame in (await whole_log(layer))[1:]]
    assert got == expected


async def test_append_of_no_frames_gives_the_newest_offset(layer):
    turn = await start(layer)
    assert await say(layer, turn) == 1
    assert await say(layer, turn, "a") == 2


async def test_append_repeated_after_a_lost_reply_stores_once(layer):
    turn = await start(layer)
    assert await append_twice(layer, turn, tokens(turn, "a", "b")) == (3, 3)
    assert await append_twice(layer, turn, tokens(turn, "c")) == (4, 4)
    assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]


async def test_append_repeated_many_times_stores_once_and_the_next_follows(layer):
    turn = await start(layer)
    sent = tokens(turn, "a")
    for _ in range(5):
        turn.append_number = 0
        assert await layer.append(turn, same_frames(sent)) == 2
    assert turn.append_number == 1
    assert await say(layer, turn, "b") == 3
    assert await log(layer) == ["user:hi", "token:a", "token:b"]


async def test_append_to_a_cancelled_turn_stores_nothing(layer):
    turn = await start(layer)
    await say(layer, turn, "a")
    await layer.cancel(S)
    for _ in range(2):
        with pytest.raises(TurnCancelled):
            await say(layer, turn, "b")
    assert turn.append_number == 1
    assert await log(layer) == ["user:hi", "token:a"]


async def test_append_that_was_stored_before_the_cancel_is_confirmed_when_repeated(layer):
    turn = await start(layer)
    sent = tokens(turn, "a")
    await layer.append(turn, sent)
    await layer.cancel(S)
    turn.append_number = 0
    assert await layer.append(turn, same_frames(sent)) == 2
    with pytest.raises(TurnCancelled):
        await say(layer, turn, "b")
    assert await log(layer) == ["user:hi", "token:a"]


async def test_append_beyond_what_the_store_knows_is_refused(layer):
    """A store that went back in time lost frames: the log must not go on as if they were there."""
    turn = await start(layer)
    await say(layer, turn, "a")
    turn.append_number = 2
    with pytest.raises(LeaseLost):
        await say(layer, turn, "c")
    assert await log(layer) == ["user:hi", "token:a"]


class TestBegun:
    """``append_nowait``: frames are on their way, and no task waits for them."""

    @pytest.fixture
    async def turn(self, layer):
        return await start(layer)

    @pytest.fixture
    def stored(self):
        """The texts that the log was said to hold, as it was said."""
        return []

    @pytest.fixture
    def append_soon(self, layer, turn, stored):
        """Start to append tokens."""
        return lambda *texts: layer.append_nowait(turn, tokens(turn, *texts), lambda: stored.extend(texts))

    async def test_it_is_stored_once_and_said_to_be(self, layer, turn, append_soon, stored):
        assert append_soon("a")
        await layer.wait_appended(turn)
        assert stored == ["a"]
        assert turn.append_number == 1
        assert await log(layer) == ["user:hi", "token:a"]

    async def test_several_are_stored_together_and_pushed_together(self, layer, turn, append_soon, stored):
        async with tailing(layer, await cursor_at(layer, 1), takes=True) as tail:
            await say(layer, turn, "a")
            await tail.has(1)
            await settled(layer)
            assert append_soon("b", "c")
            await layer.wait_appended(turn)
            assert tail.taken == [3, 4]
        assert stored == ["b", "c"]
        assert turn.append_number == 2
        assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]

    async def test_it_is_shown_to_who_watches_without_anybody_waiting(self, layer, append_soon):
        async with tailing(layer, await cursor_at(layer, 1), takes=True) as tail:
            assert append_soon("a")
            await tail.has(1)
            assert append_soon("b")
            await tail.has(2)
        assert tail.shown == ["token:a", "token:b"]
        assert tail.offsets == [2, 3]

    async def test_repeated_under_the_same_number_it_is_stored_once(self, layer, turn, append_soon):
        again = copy.copy(turn)
        assert append_soon("a")
        await layer.wait_appended(turn)
        if layer.append_nowait(again, tokens(again, "a"), lambda: None):
            await layer.wait_appended(again)
        else:
            await say(layer, again, "a")
        assert again.append_number == turn.append_number == 1
        assert await log(layer) == ["user:hi", "token:a"]

    async def test_what_comes_meanwhile_follows(self, layer, turn, append_soon, stored):
        assert append_soon("a")
        if not append_soon("b"):  # one is under way
            await say(layer, turn, "b")
        await say(layer, turn, "c")
        assert append_soon("d")
        await stop(layer, turn)
        assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c", "token:d", "final:stop"]
        assert stored[0] == "a"

    async def test_of_a_cancelled_turn_it_is_not_stored_and_the_next_call_fails(self, layer, turn, append_soon, stored):
        await layer.cancel(S)
        if append_soon("a"):
            with pytest.raises(TurnCancelled):
                await layer.wait_appended(turn)
        with pytest.raises(TurnCancelled):
            await say(layer, turn, "b")
        assert not stored
        assert await log(layer) == ["user:hi"]

    async def test_under_a_lost_lease_it_is_not_stored_and_the_next_call_says_why(
        self, layer, store, turn, append_soon, stored
    ):
        await store.advance(1_000)
        await claim(layer)
        if append_soon("a"):
            with pytest.raises(LeaseLost):
                await say(layer, turn, "b")
        with pytest.raises(LeaseLost):
            await say(layer, turn, "c")
        assert not stored
        assert await log(layer) == ["user:hi"]

    async def test_after_one_that_failed_none_is_started(self, layer, turn, append_soon):
        await layer.cancel(S)
        while append_soon("a"):
            await asyncio.sleep(0)
        assert await log(layer) == ["user:hi"]

    async def test_waiting_for_no_append_returns_at_once(self, layer, turn):
        await layer.wait_appended(turn)
        assert await say(layer, turn, "a") == 2


async def test_turns_number_their_appends_by_themselves(layer):
    first = await start(layer)
    await say(layer, first, "a")
    await stop(layer, first)
    second = await start(layer)
    assert second.append_number == 0
    assert await say(layer, second, "b") == 5


async def test_sessions_number_their_frames_by_themselves(layer):
    one, two = await start(layer, session_id="one"), await start(layer, session_id="two")
    assert await say(layer, one, "a") == await say(layer, two, "b") == 2
    assert (await layer.ensure("one")).epoch != (await layer.ensure("two")).epoch
