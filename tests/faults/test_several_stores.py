"""Sessions spread over several stores: one that freezes or dies delays only its own."""

import asyncio
import signal

import pytest
from redis.asyncio import Redis

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from tests.buffer.turns import answer, cursor_at, enqueue, log, say, start, stop, tailing
from tests.faults.valkey import Valkey

SESSIONS = [f"session-{number}" for number in range(40)]
LEASE_SECONDS = 16.0  # a quarter of it is how long one store may hold up the others


@pytest.fixture
def stores():
    with Valkey() as one, Valkey() as other:
        yield [one, other]


@pytest.fixture(params=[LEASE_SECONDS])
async def layer(request, stores):
    layer = RedisSessionLayer([store.url for store in stores], Bounds(lease_seconds=request.param))
    await layer.start()
    yield layer
    await layer.close()


def in_store(layer, index):
    """A session that this store keeps."""
    return next(session_id for session_id in SESSIONS if layer._stores._ring.index(session_id) == index)


async def test_each_session_lives_in_one_store_and_all_are_found(stores, layer):
    for session_id in SESSIONS:
        await enqueue(layer, session_id=session_id)
    found = []
    for store in stores:
        async with Redis.from_url(store.url) as redis:
            found.append({key.decode().removeprefix("relay:0:s:") async for key in redis.scan_iter("relay:0:s:*")})
    assert found[0] | found[1] == set(SESSIONS)
    assert not found[0] & found[1]
    assert all(len(names) > 5 for names in found)
    assert set(await layer.pending(100)) == set(SESSIONS)
    listed, cursor = [], ""
    while True:
        page, cursor = await layer.active(cursor, 7)
        listed += [state.session_id for state in page]
        if not cursor:
            break
    assert listed == sorted(SESSIONS)


async def test_a_frozen_store_delays_only_its_own_sessions(stores, layer):
    healthy, frozen = in_store(layer, 0), in_store(layer, 1)
    waiting_turn = await start(layer, session_id=frozen)
    stores[1].signal(signal.SIGSTOP)
    waiting = asyncio.create_task(say(layer, waiting_turn, "a"))
    async with asyncio.timeout(LEASE_SECONDS):
        turn = await start(layer, session_id=healthy)
        async with tailing(layer, await cursor_at(layer, 0, healthy), healthy) as tail:
            await say(layer, turn, "a")
            await stop(layer, turn)
            await tail.has(3)
        await enqueue(layer, "next", session_id=healthy)
        assert await layer.pending(10) == [healthy]
        with pytest.raises(StoreUnavailable):
            await layer.check()
    assert not waiting.done()
    stores[1].signal(signal.SIGCONT)
    assert await waiting == 2


@pytest.mark.parametrize("layer", [5.0], indirect=True)
async def test_a_dead_store_takes_only_its_own_sessions_along(stores, layer):
    healthy, dead = in_store(layer, 0), in_store(layer, 1)
    stores[1].kill()
    with pytest.raises(StoreUnavailable):
        await layer.get(dead)
    await answer(layer, "hi", "a", session_id=healthy)
    assert await log(layer, healthy) == ["user:hi", "token:a", "final:stop"]
