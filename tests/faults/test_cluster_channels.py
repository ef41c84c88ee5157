"""Groups and channels of Channels over a cluster: a message reaches every process, whichever nodes they use."""

import asyncio

import pytest

from relay.layers.bounds import Bounds
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import new_id
from relay.testing.turns import LIMIT_SECONDS
from tests.faults.valkey_cluster import ValkeyCluster


@pytest.fixture(scope="module")
def cluster():
    with ValkeyCluster() as cluster:
        yield cluster


async def until_heard(sender, layer, channel):
    """Send a message until one arrives: what is sent to a node that dies is lost."""
    sent = {"type": "a", "id": new_id()}

    async def hear():
        while await layer.receive(channel) != sent:
            pass

    async with asyncio.timeout(LIMIT_SECONDS):
        hearing = asyncio.ensure_future(hear())
        while not hearing.done():
            await sender.group_send("group", sent)
            await asyncio.wait([hearing], timeout=0.05)
        await hearing


async def test_a_group_is_heard_at_any_node_and_outlives_each(cluster):
    layers = [RedisSessionLayer(cluster.url, Bounds()) for _ in range(4)]
    channels = [await layer.new_channel() for layer in layers]
    for layer, channel in zip(layers, channels, strict=True):
        await layer.group_add("group", channel)
    for layer, channel in zip(layers, channels, strict=True):
        await until_heard(layers[0], layer, channel)
    for node in cluster.nodes[:2]:
        await asyncio.to_thread(node.kill)
        for layer, channel in zip(layers, channels, strict=True):
            await until_heard(layers[-1], layer, channel)
        await asyncio.to_thread(node.start)
    for layer in layers:
        await layer.close()
