"""Orders, groups and channels over Redis: what is sent while all is well arrives, whatever broke before."""

import asyncio
import json
import signal
import urllib.request
from functools import partial

import pytest
from redis.asyncio import Redis

from relay.layers.redis.keys import Keys
from relay.protocol.frames import CloseCode
from relay.testing.turns import LIMIT_SECONDS
from tests import processes
from tests.faults.gate import Gate
from tests.faults.returning_clients import request_until_served

ORDERS = Keys("relay:0").orders.names[0]
ASKED, OTHER = 0, 1
PAUSE_SECONDS = 0.1


async def hears(layer, channel, message, say):
    """Say something again and again, until the channel has heard it."""

    async def listen():
        while await layer.receive(channel) != message:
            pass

    listening = asyncio.ensure_future(listen())
    async with asyncio.timeout(LIMIT_SECONDS):
        while not listening.done():
            await say(message)
            await asyncio.wait([listening], timeout=PAUSE_SECONDS)
    await listening


async def test_a_channel_hears_what_another_process_says(valkey, open_layer):
    layer, peer = await open_layer(valkey.url), await open_layer(valkey.url)
    channel = await layer.new_channel()
    await hears(layer, channel, {"type": "a"}, partial(peer.send, channel))


async def test_orders_that_were_listened_for_before_the_store_was_there_arrive(valkey, open_layer):
    valkey.kill()
    layer, peer = await open_layer(valkey.url), await open_layer(valkey.url)
    orders = asyncio.Queue()
    listening = asyncio.create_task(layer.listen_for_orders(orders.put_nowait))
    await asyncio.to_thread(valkey.start)
    async with asyncio.timeout(LIMIT_SECONDS):
        await listening
        await peer.publish_order({"order": "a"})
        assert await orders.get() == {"order": "a"}


async def test_orders_arrive_again_after_their_connection_died_silently(valkey, open_layer):
    async with Gate(valkey.port) as gate:
        layer, peer = await open_layer(gate.url, lease_seconds=1.0), await open_layer(valkey.url)
        orders = asyncio.Queue()
        await layer.listen_for_orders(orders.put_nowait)
        gate.shut()
        await peer.publish_order({"order": "lost"})
        await gate.has_lost.wait()
        gate.open()
        async with asyncio.timeout(LIMIT_SECONDS):
            while orders.empty():
                await peer.publish_order({"order": "b"})
                await asyncio.sleep(PAUSE_SECONDS)
        assert orders.get_nowait() == {"order": "b"}


async def test_orders_to_every_process_arrive_after_the_store_was_away(patient_cluster):
    cluster = patient_cluster
    async with cluster.open(ASKED, "here") as here, cluster.open(OTHER, "there") as there:
        for browser in (here, there):
            await browser.frame_of("welcome")
        cluster.valkey.kill()
        await asyncio.to_thread(cluster.valkey.start)
        async with Redis.from_url(cluster.valkey.url) as redis, asyncio.timeout(LIMIT_SECONDS):
            while await redis.pubsub_shardnumsub(ORDERS) != [(ORDERS.encode(), 2)]:
                await asyncio.sleep(PAUSE_SECONDS)

        await ask_rest(cluster, "POST", "notice", content="back again")
        for browser in (here, there):
            assert (await browser.frame_of("notice"))["content"] == "back again"
        await ask_rest(cluster, "DELETE", "sessions/there/viewers")
        assert (await there.frame_of("disconnect"))["code"] == "kicked"
        await ask_rest(cluster, "POST", "drain", everywhere=True)
        assert await here.close_code() == CloseCode.SERVER_RESTART
    for gateway in cluster.gateways:
        assert await asyncio.to_thread(gateway.wait) in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it got


async def ask_rest(cluster, method, path, **body):
    request = urllib.request.Request(
        f"{cluster.gateways[ASKED].http_url}/api/v1/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={"X-Internal-Auth": processes.KEY, "Content-Type": "application/json"},
    )
    await asyncio.to_thread(request_until_served, request)


FOREIGN = [
    b"",
    b"\xff",
    b"[]",
    b"text",
    b"5",
    b'{"order": "drain"}',
    b'{"id": "1", "order": {"order": ["drain"]}}',
    b"[" * 9999,
]


@pytest.mark.parametrize("data", FOREIGN)
async def test_a_foreign_order_is_not_followed(valkey, open_layer, data):
    layer = await open_layer(valkey.url)
    orders = asyncio.Queue()
    await layer.listen_for_orders(orders.put_nowait)
    async with Redis.from_url(valkey.url) as redis, asyncio.timeout(LIMIT_SECONDS):
        assert await redis.spublish(ORDERS, data) == 1
        await layer.publish_order({"order": "ours"})
        assert await orders.get() == {"order": "ours"}
