"""A store that comes back behind what it had confirmed, as after a failover or a crash with ``everysec``."""

import pytest
from redis.asyncio import Redis

from relay.exceptions import LeaseLost
from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from relay.protocol import frames
from relay.protocol.frames import ReplayGap
from relay.testing.turns import S, answer, claim, cursor_at, enqueue, gap_at, log, run_queue, say, shown, start, stop
from tests.buffer.redis_store import server_url


class Backup:
    """What a store had at one moment; ``restore`` makes it forget all that came after."""

    def __init__(self, prefix):
        self._pattern = f"{prefix}:*"
        self._values = {}

    async def take(self):
        async with Redis.from_url(server_url()) as redis:
            self._values = {key: await redis.dump(key) for key in await redis.keys(self._pattern)}

    async def restore(self):
        async with Redis.from_url(server_url()) as redis:
            await redis.delete(*await redis.keys(self._pattern))
            for key, value in self._values.items():
                await redis.restore(key, 60_000, value)


@pytest.fixture
def prefix():
    return f"test-{new_id()}"


@pytest.fixture
def backup(prefix):
    return Backup(prefix)


@pytest.fixture
async def layer(prefix):
    layer = RedisSessionLayer(server_url(), Bounds(), prefix=prefix)
    await layer.start()
    yield layer
    await layer.flush()
    await layer.close()


async def test_half_an_answer_gets_no_end_that_makes_it_look_whole(layer, backup):
    turn = await start(layer)
    await say(layer, turn, "a")
    await backup.take()
    await say(layer, turn, "b")
    await backup.restore()
    with pytest.raises(LeaseLost):
        await stop(layer, turn)
    await layer.reset(turn, "ab")
    assert (await gap_at(layer, await cursor_at(layer, 3))).text == "ab"
    assert await log(layer) == ["error:buffer_lost"]


async def test_an_append_after_forgotten_ones_is_refused(layer, backup):
    turn = await start(layer)
    await backup.take()
    await say(layer, turn, "a")
    await backup.restore()
    with pytest.raises(LeaseLost):
        await say(layer, turn, "b")


@pytest.mark.parametrize("forgotten", ["claim", "message"])
async def test_a_turn_whose_beginning_was_forgotten_is_ended_and_never_run_again(layer, backup, forgotten):
    await answer(layer, "before", "x")
    if forgotten == "message":
        await backup.take()
    await enqueue(layer)
    if forgotten == "claim":
        await backup.take()
    turn = await claim(layer)
    await say(layer, turn, "a")
    await backup.restore()
    with pytest.raises(LeaseLost):
        await layer.finish(turn, frames.final(turn.turn_id))
    old = await cursor_at(layer, 3)
    assert shown(await layer.reset(turn, "a")) == "error:buffer_lost"
    with pytest.raises(ReplayGap):
        await layer.read(S, old, 10)
    assert await run_queue(layer) == []


async def test_a_turn_that_began_in_an_earlier_life_does_not_take_another_ones_log(layer, backup):
    turn = await start(layer)
    await backup.restore()
    await answer(layer, "next")
    with pytest.raises(LeaseLost):
        await layer.reset(turn, "a")


async def test_a_claim_that_is_executed_late_takes_no_second_turn(layer):
    """A frozen store may execute what it has read from a line that was given up meanwhile."""
    await enqueue(layer, "a")
    await enqueue(layer, "b")
    claim_id = new_id()
    await stop(layer, await claim(layer, claim_id=claim_id))
    assert await claim(layer, claim_id=claim_id) is None
    assert await run_queue(layer) == ["b"]
