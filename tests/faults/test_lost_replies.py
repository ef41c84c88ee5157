"""Each call repeated by the layer itself, after its reply was cut off: same state, same answer."""

import contextlib

import pytest

from relay.cursor import Cursor
from relay.layers.bounds import Bounds
from relay.layers.redis import RedisSessionLayer
from relay.layers.redis_limits import RedisLimits
from relay.layers.values import Accepted, CancelAck, CancelStatus, Rate, new_id
from tests.buffer.redis_store import server_url
from tests.buffer.turns import S, enqueue, log, message, say, shown, start, stop
from tests.faults.cutting_proxy import CuttingProxy

CUTS = 2


@pytest.fixture
async def proxy():
    port = int(server_url().rpartition(":")[2].partition("/")[0])
    async with CuttingProxy(port) as proxy:
        yield proxy


@pytest.fixture
async def layer(proxy):
    """A layer behind the proxy; every script is loaded already."""
    layer = RedisSessionLayer([proxy.url], Bounds(), prefix=f"test-{new_id()}")
    await layer.start()
    yield layer
    await layer.flush()
    await layer.close()


@pytest.fixture
def cut(proxy):
    """In this block the next calls' replies are lost, and they are repeated."""

    @contextlib.contextmanager
    def block():
        before = proxy.cut
        proxy.cut_replies(CUTS)
        yield
        assert proxy.cut == before + CUTS

    return block


async def test_enqueue(layer, cut):
    new = message()
    with cut():
        assert await layer.enqueue(S, new) == Accepted(new.turn_id, 0, "queued", False)
    assert (await layer.state(S)).queued == (new.turn_id,)


async def test_claim(layer, cut):
    await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        turn = await layer.claim(S, new_id())
    assert turn.message["content"] == "a"
    assert await log(layer) == ["user:a"]


async def test_append(layer, cut):
    turn = await start(layer)
    for offset, text in enumerate("abc", 2):
        with cut():
            assert await say(layer, turn, text) == offset
    assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]


async def test_finish(layer, cut):
    turn = await start(layer)
    with cut():
        assert shown(await stop(layer, turn)) == "final:stop"
    assert await log(layer) == ["user:hi", "final:stop"]


async def test_cancel_of_the_queues_head_takes_no_second_turn(layer, cut):
    first = await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        assert await layer.cancel(S) == CancelAck(first.turn_id, CancelStatus.QUEUED)
    assert (await layer.claim(S, new_id())).is_cancelled


async def test_clear_queue_counts_what_it_cancelled(layer, cut):
    await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        assert await layer.clear_queue(S) == 2


async def test_reset(layer, cut):
    turn = await start(layer)
    with cut():
        assert shown(await layer.reset(turn, "ab")) == "error:buffer_lost"
    assert await log(layer) == ["error:buffer_lost"]


async def test_delete(layer, cut):
    await start(layer)
    with cut():
        assert await layer.delete(S)
    assert await layer.find(S) is None


async def test_read_and_renew(layer, cut):
    turn = await start(layer)
    epoch = (await layer.state(S)).epoch
    with cut():
        await layer.renew(turn)
    with cut():
        assert len(await layer.read(S, Cursor(epoch, 0), 10)) == 1


async def test_limits(layer, cut):
    limits = RedisLimits(layer)
    with cut():
        assert await limits.use_once(new_id(), 10)
    key = new_id()
    with cut():
        assert await limits.take(key, Rate(1, 1000)) == 0
    assert await limits.take(key, Rate(1, 1000)) > 0
