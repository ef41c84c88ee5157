"""Groups and channels over Redis: what is said while all is well arrives, whatever broke before."""

import asyncio
from functools import partial

import pytest

from relay.layers.redis import channels
from tests.buffer.turns import LIMIT_SECONDS
from tests.faults.gate import Gate

PAUSE_SECONDS = 0.1


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(channels, "IDLE_SECONDS", PAUSE_SECONDS)
    monkeypatch.setattr(channels, "RETRY_SECONDS", PAUSE_SECONDS)


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


async def test_a_channel_that_listened_before_the_store_was_there_hears(valkey, open_layer):
    valkey.kill()
    layer, peer = await open_layer(valkey.url), await open_layer(valkey.url)
    channel = await layer.new_channel()
    listening = asyncio.ensure_future(layer.receive(channel))
    await asyncio.wait([listening], timeout=PAUSE_SECONDS)
    await asyncio.to_thread(valkey.start)
    listening.cancel()
    await hears(layer, channel, {"type": "a"}, partial(peer.send, channel))


async def test_a_line_that_died_without_a_word_is_noticed(valkey, open_layer):
    async with Gate(valkey.port) as gate:
        layer, peer = await open_layer(gate.url), await open_layer(valkey.url)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        say = partial(peer.group_send, "group")
        await hears(layer, channel, {"type": "a"}, say)
        gate.shut()
        await say({"type": "lost"})
        await gate.has_lost.wait()
        gate.open()
        await hears(layer, channel, {"type": "b"}, say)
