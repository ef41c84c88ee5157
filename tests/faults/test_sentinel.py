"""A store that fails over: another server is the primary, and everything goes on there."""

import asyncio
import gc
import signal

import pytest
from redis import exceptions
from redis.asyncio import Redis

from relay.addresses.store import parse_sentinel_url
from relay.exceptions import LeaseLost, StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis.connection import RedisConnection, pack
from relay.layers.redis.keys import Keys
from relay.layers.redis.layer import RedisSessionLayer
from relay.testing.turns import S, cursor_at, log, say, start, stop, tailing
from tests.faults.sentinel import SentinelStore

SESSION = Keys("relay:0").of_session(S).names.session


@pytest.fixture
def store():
    with SentinelStore() as store:
        yield store


@pytest.fixture
async def layers(request, store):
    """Workers whose patience outlasts a failover, also one whose first vote is split: that takes six seconds more."""
    lease_seconds = getattr(request, "param", 30)
    layers = [RedisSessionLayer(store.url, Bounds(lease_seconds=lease_seconds)) for _ in range(2)]
    for layer in layers:
        await layer.start()
    yield layers
    for layer in layers:
        await layer.close()


async def replica_has(store, offset):
    """Wait until what was written has reached the replica: a failover loses the rest."""
    async with asyncio.timeout(60), Redis(port=store.replica.port) as replica:
        while await replica.hget(SESSION, "newest") != str(offset).encode():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(  # that a server is frozen is noticed after half a lease
    ("death", "layers"), [("killed", 30), ("frozen", 20)], indirect=["layers"], ids=["killed", "frozen"]
)
async def test_an_answer_goes_on_on_the_new_primary(store, layers, death):
    layer, peer = layers
    turn = await start(layer)
    async with tailing(peer, await cursor_at(peer, 0)) as tail:
        assert await say(layer, turn, "a") == 2
        await replica_has(store, 2)
        if death == "killed":
            store.primary.kill()
        else:
            store.primary.signal(signal.SIGSTOP)
        store.fails_over()
        assert await say(layer, turn, "b") == 3
        await stop(layer, turn)
        await tail.until(lambda: len(tail.frames) == 4)
        assert tail.shown == ["user:hi", "token:a", "token:b", "final:stop"]
    if death == "frozen":
        store.primary.signal(signal.SIGCONT)  # it believes to be the primary until it is told
        assert await log(peer) == ["user:hi", "token:a", "token:b", "final:stop"]


async def test_what_the_failover_lost_is_noticed(store, layers):
    layer, peer = layers
    turn = await start(layer)
    await replica_has(store, 1)
    store.replica.signal(signal.SIGSTOP)
    store.primary.command("CLIENT", "KILL", "TYPE", "replica")  # what follows does not reach it
    await say(layer, turn, "a")
    store.primary.kill()
    store.replica.signal(signal.SIGCONT)
    store.fails_over()
    with pytest.raises(LeaseLost):
        await say(layer, turn, "b")
    await layer.reset(turn, "ab")
    assert await log(peer) == ["error:buffer_lost"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # channels_redis closes no connection to a sentinel
async def test_messages_of_groups_pass_too(layers):
    one, other = layers
    channel = await one.new_channel()
    await one.group_add("group", channel)
    waiting = asyncio.create_task(one.receive(channel))
    async with asyncio.timeout(60):
        while not waiting.done():  # what nobody receives yet is lost, as with every pub/sub layer
            await other.group_send("group", {"type": "hello"})
            await asyncio.wait([waiting], timeout=0.05)
    assert waiting.result() == {"type": "hello"}
    for layer in layers:
        await layer.close()
    gc.collect()


async def test_a_service_that_no_sentinel_knows_is_a_store_out_of_reach(store):
    layer = RedisSessionLayer(store.url.replace("sessions", "other"), Bounds(lease_seconds=1))
    with pytest.raises(StoreUnavailable):
        await layer.get(S)
    await layer.close()


async def test_a_replica_is_not_taken_for_a_primary(store):
    """A sentinel may be behind: the server itself is asked."""
    connection = RedisConnection(store.url, timeout_seconds=20)

    async def outdated():
        return "127.0.0.1", store.replica.port

    connection._sentinels.primary = outdated
    with pytest.raises(exceptions.ConnectionError, match="no primary"):
        await connection.exchange([pack("PING")], [])


def test_an_address_names_sentinels_service_credentials_and_database():
    url = parse_sentinel_url("redis+sentinel://me:p%40ss@one:1,two/my-service/3?sentinel_password=x")
    assert url.sentinels == (("one", 1), ("two", 26379))
    assert (url.service, url.password, url.store_url) == ("my-service", "x", "redis://me:p%40ss@primary:0/3")
    assert parse_sentinel_url("rediss+sentinel://one/s").store_url == "rediss://primary:0/0"
    assert parse_sentinel_url("redis://one:1/0") is None
