"""Groups and channels: what the Channels specification asks of a layer.

https://channels.readthedocs.io/en/stable/channel_layer_spec.html
"""

import asyncio

import pytest
from channels.exceptions import ChannelFull, InvalidChannelLayerError
from channels.layers import BaseChannelLayer

from relay.layers.base import EXTENSION, SessionLayer
from relay.layers.bounds import Bounds
from tests.buffer.turns import LIMIT_SECONDS, S, answer, log

CAPACITY = 3
EXPIRY_SECONDS = 10.0
GROUP_EXPIRY_SECONDS = 100.0


@pytest.fixture
async def layer(store):
    return await store.layer(Bounds(), capacity=CAPACITY, expiry=EXPIRY_SECONDS, group_expiry=GROUP_EXPIRY_SECONDS)


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


async def test_a_message_is_received_as_it_was_sent(layer):
    sent = {"type": "a.b", "text": "é😀", "bytes": b"\x00", "list": [1, 1.5, None, True], "dict": {"a": {}}}
    await layer.send("channel", sent)
    assert await receive(layer, "channel") == sent


async def test_a_message_is_the_receivers_own(layer):
    sent = {"type": "a", "list": [1]}
    await layer.send("channel", sent)
    sent["list"].append(2)
    assert await receive(layer, "channel") == {"type": "a", "list": [1]}


async def test_members_of_a_group_do_not_share_a_message(layer):
    for channel in ("one", "two"):
        await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "a", "list": []})
    (await receive(layer, "one"))["list"].append(1)
    assert await receive(layer, "two") == {"type": "a", "list": []}


async def test_a_channel_is_first_in_first_out(layer):
    for i in range(CAPACITY):
        await layer.send("channel", {"type": "a", "i": i})
    assert [(await receive(layer, "channel"))["i"] for _ in range(CAPACITY)] == [0, 1, 2]


async def test_a_message_is_received_once(layer):
    waiting = [asyncio.create_task(receive(layer, "channel")) for _ in range(2)]
    await asyncio.sleep(0)
    await layer.send("channel", {"type": "a"})
    await layer.send("channel", {"type": "b"})
    assert sorted([(await task)["type"] for task in waiting]) == ["a", "b"]


async def test_receive_waits_for_a_message_from_another_process(layer, peer):
    channel = await layer.new_channel()
    waiting = asyncio.create_task(receive(layer, channel))
    await asyncio.sleep(0)
    assert not waiting.done()
    await peer.send(channel, {"type": "a"})
    assert await waiting == {"type": "a"}


async def test_a_receiver_that_gave_up_takes_no_message_with_it(layer):
    channel = await layer.new_channel()
    given_up = asyncio.create_task(layer.receive(channel))
    waiting = asyncio.create_task(receive(layer, channel))
    await asyncio.sleep(0)
    await layer.send(channel, {"type": "a"})  # wakes the first
    given_up.cancel()
    await asyncio.wait([given_up])
    if given_up.cancelled():
        assert await waiting == {"type": "a"}
    else:  # it had the message already
        waiting.cancel()


async def test_a_lone_receiver_that_gave_up_leaves_the_message(layer):
    channel = await layer.new_channel()
    given_up = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await layer.send(channel, {"type": "a"})
    assert await receive(layer, channel) == {"type": "a"}


async def test_new_channels_are_unique_and_keep_their_prefix(layer):
    names = [await layer.new_channel("prefix") for _ in range(100)]
    assert len(set(names)) == 100
    assert all(name.startswith("prefix") and "!" in name for name in names)
    assert all(layer.require_valid_channel_name(name) for name in names)


async def test_a_channel_at_capacity_is_full_until_one_is_received(layer):
    for _ in range(CAPACITY):
        await layer.send("channel", {"type": "a"})
    with pytest.raises(ChannelFull):
        await layer.send("channel", {"type": "over"})
    await layer.send("another", {"type": "a"})
    await receive(layer, "channel")
    await layer.send("channel", {"type": "a"})


async def test_capacities_may_differ_by_channel(store):
    layer = await store.layer(Bounds(), capacity=1, channel_capacity={"wide.*": 2})
    await layer.send("wide.one", {"type": "a"})
    await layer.send("wide.one", {"type": "a"})
    await layer.send("narrow", {"type": "a"})
    for channel in ("wide.one", "narrow"):
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"type": "over"})


async def test_a_message_expires_and_not_before(store, layer):
    await layer.send("channel", {"type": "old"})
    await store.advance(EXPIRY_SECONDS - 0.25)
    await layer.send("channel", {"type": "young"})
    await store.advance(0.25)
    assert await receive(layer, "channel") == {"type": "young"}


async def test_expired_messages_leave_room(store, layer):
    for _ in range(CAPACITY):
        await layer.send("channel", {"type": "old"})
    await store.advance(EXPIRY_SECONDS)
    for _ in range(CAPACITY):
        await layer.send("channel", {"type": "new"})


async def test_an_expired_message_takes_no_channel_out_of_its_groups(store, layer):
    await layer.group_add("group", "channel")
    await layer.group_send("group", {"type": "old"})
    await store.advance(EXPIRY_SECONDS)
    await layer.group_send("group", {"type": "new"})
    assert await receive(layer, "channel") == {"type": "new"}


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


@pytest.mark.parametrize("name", ["a", "A-b_c.1", "a" * 99])
async def test_the_longest_and_the_plainest_names_are_taken(layer, name):
    await layer.group_add(name, name)
    await layer.group_send(name, {"type": "a"})
    assert await receive(layer, name) == {"type": "a"}


@pytest.mark.parametrize("message", ["text", None, ["type"]])
async def test_a_message_that_is_no_dict_is_refused(layer, message):
    with pytest.raises(TypeError):
        await layer.send("channel", message)


async def test_the_reserved_member_is_refused(layer):
    with pytest.raises((ValueError, AssertionError, InvalidChannelLayerError)):
        await layer.send("channel", {"type": "a", "__asgi_channel__": "x"})


# Groups.


async def test_a_group_message_reaches_every_member_once(layer, peer):
    for channel in ("one", "two", "two"):
        await layer.group_add("group", channel)
    await peer.group_add("other", "three")
    await peer.group_send("group", {"type": "a"})
    for channel in ("one", "two"):
        assert await receive(layer, channel) == {"type": "a"}
        assert await is_silent(layer, channel)
    assert await is_silent(layer, "three")


async def test_a_member_that_left_gets_nothing(layer):
    await layer.group_add("group", "one")
    await layer.group_add("group", "two")
    await layer.group_discard("group", "one")
    await layer.group_discard("group", "one")
    await layer.group_send("group", {"type": "a"})
    assert await is_silent(layer, "one")
    assert await receive(layer, "two") == {"type": "a"}


async def test_a_group_without_members_takes_messages(layer):
    await layer.group_send("group", {"type": "a"})
    await layer.group_discard("group", "one")
    await layer.group_add("group", "one")
    await layer.group_discard("group", "one")
    await layer.group_send("group", {"type": "a"})


async def test_a_full_member_loses_the_message_and_the_others_do_not(layer):
    for channel in ("full", "free"):
        await layer.group_add("group", channel)
    for _ in range(CAPACITY):
        await layer.send("full", {"type": "a"})
    await layer.group_send("group", {"type": "b"})
    assert await receive(layer, "free") == {"type": "b"}
    assert [(await receive(layer, "full"))["type"] for _ in range(CAPACITY)] == ["a"] * CAPACITY
    assert await is_silent(layer, "full")


async def test_a_membership_expires_and_joining_again_renews_it(store, layer):
    await layer.group_add("group", "gone")
    await layer.group_add("group", "stays")
    await store.advance(GROUP_EXPIRY_SECONDS - 1)
    await layer.group_add("group", "stays")
    await layer.group_send("group", {"type": "a"})
    assert await receive(layer, "gone") == {"type": "a"}
    await store.advance(1)
    await layer.group_send("group", {"type": "b"})
    assert await is_silent(layer, "gone")


async def test_flush_empties_channels_and_groups(layer):
    await layer.group_add("group", "one")
    await layer.send("two", {"type": "a"})
    await layer.flush()
    await layer.group_send("group", {"type": "a"})
    assert await is_silent(layer, "one")
    assert await is_silent(layer, "two")


async def test_channels_and_sessions_do_not_disturb_each_other(layer):
    await layer.send(S, {"type": "a"})
    await layer.group_add(S, S)
    await answer(layer)
    assert await receive(layer, S) == {"type": "a"}
    assert await log(layer) == ["user:hi", "final:stop"]
