"""One session as a process of many sees it: who waits, for what, and what stays behind."""

import asyncio
from contextlib import aclosing

import pytest

from relay.layers.redis.feed import SessionFeed
from relay.layers.redis.foreign import ForeignMessages
from relay.protocol import frames
from relay.protocol.cursor import Cursor

LIMIT_SECONDS = 60
NEWEST = Cursor("e", 1)


@pytest.fixture
async def watch():
    return SessionFeed("s", 0, ForeignMessages(), max_frames=100, max_bytes=10_000)


async def test_a_read_from_before_the_news_does_not_prove_that_there_are_none(watch):
    """One viewer has asked the store before the end came; it is still to answer when another one is told to look."""
    end = frames.final("t")
    end.offset = 2
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def read(after, limit):
        if is_asked.is_set():
            return [end]
        is_asked.set()
        await may_answer.wait()
        return []

    async with aclosing(watch.tail(NEWEST, read)) as early, aclosing(watch.tail(NEWEST, read)) as late:
        early_batch = asyncio.ensure_future(anext(early))
        await is_asked.wait()
        watch.lose_position()
        late_batch = asyncio.ensure_future(anext(late))
        await asyncio.sleep(0)  # it waits for the answer, too
        may_answer.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await asyncio.gather(early_batch, late_batch) == [[end], [end]]


async def test_who_waits_for_a_cancel_no_longer_leaves_nothing_behind(watch):
    with watch.cancel_waiter("e", "t") as waiter, watch.cancel_waiter("e", "other") as other:
        watch.hear_cancelled("e", "t")
        assert (waiter.done(), other.done()) == (True, False)
    assert not watch._cancel_waiters
