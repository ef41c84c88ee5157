"""Every key and every channel carries the deployment's prefix and its database's number, whatever is called."""

import asyncio
import re

import pytest
from redis.asyncio import Redis

from relay.access.rate_limits import take_message, take_reading
from relay.layers.bounds import Bounds
from relay.layers.redis.buckets import TAGS, bucket_of, tag_of
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import Rate
from relay.testing.turns import LIMIT_SECONDS, S, answer, cursor_at, enqueue, say, start, stop, tailing
from tests.faults.conftest import until_served

OTHERS = [("relay", 0), ("other", 1)]  # another prefix, another number
PUBLISH = ("PUBLISH", "SPUBLISH")
SUBSCRIBE = ("SUBSCRIBE", "SSUBSCRIBE")


@pytest.fixture
async def monitored(valkey):
    """The names of channels that the store was told, so far."""
    channels = set()
    async with Redis.from_url(valkey.url) as redis, redis.monitor() as monitor:

        async def listen():
            async for command in monitor.listen():
                verb, *names = re.findall(r"[^\s\"]+", command["command"])
                if verb.upper() in PUBLISH + SUBSCRIBE:
                    channels.update(names[:1] if verb.upper() in PUBLISH else names)

        listening = asyncio.create_task(listen())
        yield channels
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def call_everything(layer, peer):
    """Let a store see every kind of name."""
    await layer.attach(S, "viewer", "ann")
    turn = await start(layer)
    async with tailing(peer, await cursor_at(peer, 0)) as tail:
        await say(layer, turn, "a")
        await tail.has(2)
        waiting = asyncio.create_task(peer.wait_cancelled(turn))
        await layer.cancel(S)
        await asyncio.wait_for(waiting, LIMIT_SECONDS)
    await stop(layer, turn)
    await enqueue(layer, client_message_id="m-1")
    await layer.clear_queue(S)
    lost = await layer.claim(S, "claim")
    await layer.reset(lost, "text")
    await answer(layer, session_id="another")
    await layer.delete("another")
    await layer.detach(S, "viewer")
    await until_served(layer.check)
    await until_served(layer.check_announcements)
    await layer.limits.take("somebody", Rate(3, 60))
    await layer.limits.use_once("ticket", 60)
    await peer.listen_for_orders(lambda order: None)
    await layer.publish_order({"order": "dance"})
    channel = await peer.new_channel()
    await peer.group_add("group", channel)
    await hears(peer, channel, lambda message: layer.group_send("group", message))
    await hears(peer, channel, lambda message: layer.send(channel, message))
    await hears(peer, "thumbnails", lambda message: layer.send("thumbnails", message))
    await peer.group_discard("group", channel)


async def hears(layer, channel, send):
    """Send until the channel has heard it: nothing tells when a subscription has been made."""
    receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not receiving.done():
            await send({"type": "a"})
            await asyncio.wait([receiving], timeout=0.05)
    assert await receiving == {"type": "a"}


@pytest.mark.parametrize(("prefix", "database"), OTHERS)
async def test_every_name_carries_prefix_and_database(valkey, monitored, prefix, database):
    url = f"{valkey.url.removesuffix('/0')}/{database}"
    layers = [RedisSessionLayer(url, Bounds(), prefix=prefix) for _ in range(2)]
    for layer in layers:
        await layer.start()
    await call_everything(*layers)
    async with Redis.from_url(url) as redis:
        keys = {key.decode() async for key in redis.scan_iter()}
        heard = {channel.decode() for channel in await redis.pubsub_channels() + await redis.pubsub_shardchannels()}
    for layer in layers:
        await layer.close()
    namespace = f"{prefix}:{database}:"
    assert {key for key in keys if not key.startswith(namespace)} == set()
    assert {channel for channel in heard | monitored if not channel.startswith(namespace)} == set()
    kinds = {re.sub(r"^{\d+}:", "{}:", name.removeprefix(namespace)) for name in heard | monitored}
    assert {re.match(r"({}:)?\w+", kind)[0] for kind in kinds} == {"{}:c", "{}:orders", "channels"}


async def test_all_that_a_message_needs_is_in_one_slot(valkey, settings):
    """So that no node of a cluster has to answer for a session but its own."""
    settings.GATEWAY = {**settings.GATEWAY, "RATE_LIMIT": "300"}
    layer = RedisSessionLayer(valkey.url, Bounds())
    await layer.start()
    await take_message(layer.limits, S)
    await take_reading(layer.limits, S, "network")
    await answer(layer, "hi", "a")
    await layer.close()
    async with Redis.from_url(valkey.url, decode_responses=True) as redis:
        keys = [key async for key in redis.scan_iter()]
    assert {"messages", "readings"} == {key.split(":")[4] for key in keys if ":b:" in key}
    assert {tag_of(key) for key in keys} == {TAGS[bucket_of(S)]}


@pytest.mark.parametrize("separated_by", ["database", "prefix"])
async def test_limits_tickets_groups_and_sessions_are_apart(valkey, separated_by):
    """Both have the same names; each is asked after the other, so what crosses would have arrived."""
    server = valkey.url.removesuffix("/0")
    number, prefix = (1, "relay") if separated_by == "database" else (0, "other")
    one = RedisSessionLayer(f"{server}/0", Bounds())
    other = RedisSessionLayer(f"{server}/{number}", Bounds(), prefix=prefix)
    once = Rate(1, 60)
    for layer in (one, other):
        await layer.start()
        assert await layer.limits.take("somebody", once) == 0
        assert await layer.limits.use_once("ticket", 60)
    assert await other.limits.take("somebody", once) > 0
    assert not await other.limits.use_once("ticket", 60)

    await answer(one, "hi", "a")
    assert (await other.ensure(S)).newest == 0
    assert await other.active("", 10) == ([], "")
    assert await other.pending(10) == []
    await enqueue(one)
    assert await other.claim(S, "claim") is None

    channels = [await layer.new_channel() for layer in (one, other)]
    for layer, channel in zip((one, other), channels, strict=True):
        await layer.group_add("group", channel)
        await hears(layer, channel, lambda message, layer=layer: layer.group_send("group", message))
    while_waiting = asyncio.create_task(other.receive(channels[1]))
    await one.group_send("group", {"type": "foreign"})
    await other.group_send("group", {"type": "own"})
    async with asyncio.timeout(LIMIT_SECONDS):
        while (message := await while_waiting) == {"type": "a"}:  # sent until it was heard
            while_waiting = asyncio.create_task(other.receive(channels[1]))
    assert message == {"type": "own"}
    for layer in (one, other):
        await layer.close()


@pytest.mark.parametrize(("path", "prefix"), [("/1", "relay"), ("/0", "other")], ids=["database", "prefix"])
async def test_orders_do_not_cross(valkey, path, prefix):
    """The store hands out what is published in order: once an order has arrived, an earlier one would have."""
    server = valkey.url.removesuffix("/0")
    one, other = RedisSessionLayer(f"{server}/0", Bounds()), RedisSessionLayer(server + path, prefix=prefix)
    orders = asyncio.Queue()
    await other.listen_for_orders(orders.put_nowait)
    await one.publish_order({"order": "foreign"})
    await other.publish_order({"order": "own"})
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await orders.get() == {"order": "own"}
    for layer in (one, other):
        await layer.close()
