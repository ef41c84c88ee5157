"""What a session takes in the store is bounded, however long people talk."""

import pytest
from redis.asyncio import Redis

from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from relay.testing.turns import S, answer, enqueue, say, start, stop
from tests.buffer.redis_store import server_url

BOUNDS = Bounds(max_frames=200, max_bytes=50_000, max_remembered_turns=20, max_queue=3)


@pytest.fixture
async def layer():
    layer = RedisSessionLayer(server_url(), BOUNDS, prefix=f"test-{new_id()}")
    await layer.start()
    yield layer
    await layer.flush()
    await layer.close()


async def stored_bytes(layer):
    """The memory of all keys of the layer, as the server counts it."""
    async with Redis.from_url(server_url()) as redis:
        keys = [key async for key in redis.scan_iter(f"{layer._stores._namespace}:*")]
        return sum([await redis.memory_usage(key, samples=0) for key in keys])


async def talk(layer, turns):
    for _ in range(turns):
        await answer(layer, "a question " * 20, *["token "] * 30, client_message_id=new_id())


async def test_a_session_takes_no_more_after_many_turns_than_after_some(layer):
    await talk(layer, 40)
    some = await stored_bytes(layer)
    await talk(layer, 200)
    assert await stored_bytes(layer) < 1.2 * some


async def test_a_turn_takes_its_text_once_and_a_log_at_most(layer):
    turn = await start(layer)
    for _ in range(100):
        await say(layer, turn, *["x" * 500] * 20)  # a megabyte
    assert 1_000_000 < await stored_bytes(layer) < 1_000_000 * 1.3 + 2 * BOUNDS.max_bytes
    await stop(layer, turn)
    await answer(layer)
    assert await stored_bytes(layer) < 3 * BOUNDS.max_bytes


async def test_viewers_that_lapsed_and_messages_that_ran_take_nothing(layer):
    await talk(layer, 40)
    before = await stored_bytes(layer)
    for number in range(200):
        await layer.attach(S, f"viewer-{number}")
        await layer.detach(S, f"viewer-{number}")
    for _ in range(3):
        await enqueue(layer, "x" * 100_000)
    assert await stored_bytes(layer) > before + 250_000
    while (turn := await layer.claim(S, new_id())) is not None:
        await stop(layer, turn)
    await talk(layer, 40)
    assert await stored_bytes(layer) < 1.2 * before
