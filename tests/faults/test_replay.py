"""Many come back at once: the log is read once, by whom it may concern."""

import asyncio
from contextlib import aclosing

import pytest

from relay.layers.bounds import Bounds
from relay.layers.redis import page_cache
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.redis.page_cache import PAGE_FRAMES
from relay.layers.values import new_id
from relay.protocol.cursor import Cursor
from relay.protocol.frames import ReplayGap
from relay.testing.turns import S, cursor_at, say, start, stop
from tests.buffer.redis_store import server_url

PAGES = 5
VIEWERS = 100


@pytest.fixture
async def layer():
    layer = RedisSessionLayer(server_url(), Bounds(), prefix=f"test-{new_id()}")
    await layer.start()
    yield layer
    await layer.flush()
    await layer.close()


@pytest.fixture
def reads(layer, monkeypatch):
    """The positions after which the store was asked."""
    asked = []
    read = layer.read

    async def counted(session_id, after, limit, subject=None):
        asked.append(after)
        return await read(session_id, after, limit, subject)

    monkeypatch.setattr(layer, "read", counted)
    return asked


async def long_answer(layer):
    """An ended turn of so many full pages, and a little more."""
    turn = await start(layer)
    for _ in range(PAGES):
        await say(layer, turn, *["x"] * PAGE_FRAMES)
    await stop(layer, turn)
    return PAGES * PAGE_FRAMES + 2


async def watched(layer, after, end):
    """See everything up to the end. Returns the offsets."""
    offsets = []
    async with aclosing(layer.tail(S, after)) as batches:
        async for batch in batches:
            offsets += [frame.offset for frame in batch]
            if offsets[-1] == end:
                break
    return offsets


async def test_a_replay_is_read_once_however_many_come_one_after_another(layer, reads, monkeypatch):
    monkeypatch.setattr(page_cache, "KEEP_SECONDS", 600)  # they may be slow
    end = await long_answer(layer)
    cursor = await cursor_at(layer, 0)
    async with aclosing(layer.tail(S, Cursor(cursor.epoch, end))) as staying:
        watching = asyncio.ensure_future(anext(staying))
        for _ in range(VIEWERS):
            assert await watched(layer, cursor, end) == list(range(1, end + 1))
        assert len(reads) <= PAGES + 4  # until it is known where the log ends
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_what_was_erased_is_shown_to_nobody(layer):
    end = await long_answer(layer)
    cursor = await cursor_at(layer, 0)
    await watched(layer, cursor, end)
    await layer.delete(S)
    with pytest.raises(ReplayGap):
        await watched(layer, cursor, end)


async def test_pages_over_the_bound_are_not_kept(reads):
    layer = RedisSessionLayer(server_url(), Bounds(max_bytes=50_000), prefix=f"test-{new_id()}")
    end = await long_answer(layer)
    state = await layer.ensure(S)
    cursor = Cursor(state.epoch, state.oldest - 1)
    async with layer._store.open_feed(S) as watch:
        for _ in range(2):
            assert (await watched(layer, cursor, end))[0] == state.oldest
        assert watch._pages._bytes <= 50_000
    await layer.flush()
    await layer.close()
