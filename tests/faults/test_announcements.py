"""An announcement is only a hint: it may be lost, or come at any moment of a read."""

import asyncio
import contextlib

import pytest

from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.testing.turns import LIMIT_SECONDS, S, cursor_at, say, start, stop, tailing
from tests.faults.valkey import Valkey
from tests.faults.watches import make_deaf, waits, watch_of

HEARTBEAT_SECONDS = 0.2


@pytest.fixture(scope="module")
def valkey():
    with Valkey() as valkey:
        yield valkey


@pytest.fixture
async def workers(valkey):
    """One that runs the turn, one where a viewer is."""
    bounds = Bounds(viewer_seconds=3 * HEARTBEAT_SECONDS)
    layers = [RedisSessionLayer(valkey.url, bounds) for _ in range(2)]
    for layer in layers:
        await layer.start()
    yield layers
    await layers[0].delete(S)
    for layer in layers:
        await layer.close()


async def after_next_comparison(layer):
    """Wait for the next time that positions are compared with the store's. Returns what is known right after it."""
    store, known = layer._store, asyncio.get_running_loop().create_future()
    compare = store.compare

    async def told():
        await compare()
        if not known.done():
            known.set_result(watch_of(layer).position)

    store.compare = told
    async with asyncio.timeout(LIMIT_SECONDS):
        return await known


@pytest.mark.parametrize("what", ["a token", "the final frame", "the next turn too"])
async def test_a_lost_announcement_is_found_within_a_heartbeat(workers, what):
    layer, viewer = workers
    turn = await start(layer)
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        await waits(viewer)
        make_deaf(viewer)
        outdated = watch_of(viewer).position
        if what == "a token":
            await say(layer, turn, "a")
        else:
            await stop(layer, turn)
        if what == "the next turn too":
            await stop(layer, await start(layer, "next"))
        assert await after_next_comparison(viewer) != outdated  # one that had begun already may have been early enough
        await tail.has(4 if what == "the next turn too" else 2)


@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "not announced"])
async def test_appends_between_what_is_there_and_what_comes_are_seen_once(workers, is_announced):
    """Each read is followed by an append before its viewer looks at it; it is announced before that, or never."""
    layer, viewer = workers
    turn = await start(layer)
    watch = await watching(viewer)
    if not is_announced:
        make_deaf(viewer)
    read, left = viewer.read, list("abc")

    async def read_and_append(session_id, after, limit, subject=None):
        found = await read(session_id, after, limit, subject)
        if left:
            newest = await say(layer, turn, left.pop(0))
            while is_announced and (watch.position is None or watch.position.offset < newest):
                await asyncio.sleep(0)
        return found

    viewer.read = read_and_append
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.until(lambda: len(left) < 3 if is_announced else not left)
        left.clear()  # whatever is read from now on
        newest = await say(layer, turn, "d")
        await stop(layer, turn)
        await tail.has(newest + 1)
        assert tail.offsets == list(range(1, newest + 2))
        assert tail.shown[0] == "user:hi"
        assert tail.shown[-2:] == ["token:d", "final:stop"]


async def watching(layer):
    """The session as a process knows it; somebody watches, so that announcements come."""
    async with contextlib.AsyncExitStack() as stack:
        return await stack.enter_async_context(layer._store.open_feed(S))
