"""Orders, groups and channels. The layers delegate the latter two to those of Channels and channels_redis."""

import asyncio

import pytest
from channels.layers import BaseChannelLayer

from relay.layers.base import EXTENSION, SessionLayer
from relay.testing.turns import LIMIT_SECONDS, S, answer, log


async def receive(layer, channel):
    async with asyncio.timeout(LIMIT_SECONDS):
        return await layer.receive(channel)


async def is_silent(layer, channel):
    """Is there nothing on the channel? A message sent now is then the first that comes."""
    await layer.send(channel, {"type": "probe"})
    return await receive(layer, channel) == {"type": "probe"}


async def test_the_layer_says_what_it_can_do(layer):
    assert isinstance(layer, BaseChannelLayer)
    assert isinstance(layer, SessionLayer)
    assert {"groups", "flush", EXTENSION} <= set(layer.extensions)


async def test_an_order_reaches_every_process(layer, peer):
    orders = [asyncio.Queue(), asyncio.Queue()]
    async with asyncio.timeout(LIMIT_SECONDS):
        await layer.listen_for_orders(orders[0].put_nowait)
        await peer.listen_for_orders(orders[1].put_nowait)
        await layer.publish_order({"order": "tell", "content": "é😀", "session_id": None})
        for heard in orders:
            assert await heard.get() == {"order": "tell", "content": "é😀", "session_id": None}


async def test_a_message_from_another_process_is_received_as_it_was_sent(layer, peer):
    channel = await layer.new_channel()
    sent = {"type": "a.b", "text": "é😀", "bytes": b"\x00", "list": [1, 1.5, None, True], "dict": {"a": {}}}
    await peer.send(channel, sent)
    assert await receive(layer, channel) == sent


async def test_a_channel_is_first_in_first_out(layer):
    channel = await layer.new_channel()
    for i in range(3):
        await layer.send(channel, {"type": "a", "i": i})
    assert [(await receive(layer, channel))["i"] for _ in range(3)] == [0, 1, 2]


async def test_new_channels_are_unique_and_valid_and_keep_their_prefix(layer):
    names = [await layer.new_channel("prefix") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(name.startswith("prefix") and layer.require_valid_channel_name(name) for name in names)


@pytest.mark.parametrize("name", ["a", "A-b_c.1", "a" * 99])
async def test_the_longest_and_the_plainest_names_are_taken(layer, name):
    receiving = asyncio.create_task(receive(layer, name))
    while not receiving.done():  # nothing tells when a process has subscribed
        await layer.send(name, {"type": "a"})
        await asyncio.wait([receiving], timeout=0.05)
    assert await receiving == {"type": "a"}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 100, 5])
async def test_invalid_channel_names_are_refused(layer, name):
    for call in (
        lambda: layer.send(name, {"type": "a"}),
        lambda: layer.receive(name),
        lambda: layer.group_add("group", name),
        lambda: layer.group_discard("group", name),
    ):
        with pytest.raises(TypeError):
            await call()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 100, "a!b", 5])
async def test_invalid_group_names_are_refused(layer, name):
    for call in (
        lambda: layer.group_add(name, "channel"),
        lambda: layer.group_discard(name, "channel"),
        lambda: layer.group_send(name, {"type": "a"}),
    ):
        with pytest.raises(TypeError):
            await call()


async def test_a_group_message_reaches_every_member_once_and_no_former_one(layer, peer):
    one, two, three = [await layer.new_channel() for _ in range(3)]
    for channel in (one, two, two, three):
        await layer.group_add("group", channel)
    await layer.group_discard("group", three)
    await peer.group_send("group", {"type": "a"})
    for channel in (one, two):
        assert await receive(layer, channel) == {"type": "a"}
        assert await is_silent(layer, channel)
    assert await is_silent(layer, three)


async def test_flush_forgets_groups_and_sessions(layer):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await answer(layer, "a")
    await layer.flush()
    assert await layer.get(S) is None
    receiving = asyncio.create_task(receive(layer, channel))
    while not receiving.done():
        await layer.group_send("group", {"type": "forgotten"})
        await layer.send(channel, {"type": "probe"})
        await asyncio.wait([receiving], timeout=0.05)
    assert await receiving == {"type": "probe"}


async def test_channels_and_sessions_do_not_disturb_each_other(layer):
    channel = await layer.new_channel()
    await layer.group_add(S, channel)
    await answer(layer)
    await layer.group_send(S, {"type": "a"})
    assert await receive(layer, channel) == {"type": "a"}
    assert await log(layer) == ["user:hi", "final:stop"]


async def test_listening_for_orders_ends_with_the_layer(layer, peer, store):
    orders = asyncio.Queue()
    await layer.listen_for_orders(orders.put_nowait)
    await layer.close()
    await peer.publish_order({"order": "late"})
    assert orders.empty()
