"""What these layers do for viewers that are kept attached, where the contract lets them leave all to ``attach``."""

from __future__ import annotations

import pytest

from relay.layers.base import SessionLayer
from relay.layers.bounds import Bounds
from relay.layers.memory import MemorySessionLayer
from relay.layers.redis import RedisSessionLayer
from relay.layers.values import Viewer
from relay.protocol.cursor import Cursor
from relay.testing.turns import S, answer, kept, say, settled, start, stay, tailing

BOUNDS = Bounds(viewer_seconds=60.0, ttl_seconds=3600.0)


async def test_a_viewer_is_kept_without_attaching_again(store):
    layer = await store.layer(BOUNDS)
    empty, started = Viewer("empty", "one"), Viewer(S, "one", "alice")
    await layer.attach(*empty)
    await layer.attach(*started)
    await answer(layer, subject="alice")
    for _ in range(6):
        await store.advance(20)
        assert None not in await kept(layer, empty, started)
    await store.advance(59)
    assert [(await layer.get(viewer.session_id)).viewers for viewer in (empty, started)] == [1, 1]


async def test_a_heartbeat_finds_that_an_announcement_was_lost(store):
    peer = await store.layer(BOUNDS)
    layer = await store.peer()  # the newest is made deaf
    viewer = Viewer(S, "one")
    await layer.attach(*viewer)
    turn = await start(peer)
    await say(peer, turn, "a")
    position = Cursor((await layer.get(S)).epoch, 0)
    async with tailing(layer, position) as tail:
        await tail.has(2)
        await settled(layer)
        await store.deafen()
        await say(peer, turn, "b")
        await stay(layer, viewer)
        await tail.has(3)


@pytest.mark.parametrize("layer_class", [MemorySessionLayer, RedisSessionLayer])
def test_the_rules_that_a_subclass_adds_to_attach_hold_for_heartbeats(layer_class):
    class Rules:
        async def attach(self, *viewer):
            raise AssertionError

    class Mixed(Rules, layer_class):
        pass

    class Own(layer_class):
        async def attach(self, *viewer):
            raise AssertionError

    class Later(Own):
        pass

    class Both(Own):
        async def keep_attached(self, viewers, answer):
            raise AssertionError

    class Other(layer_class):
        async def detach(self, *viewer):
            raise AssertionError

    for left_to_attach in (Mixed, Own, Later):
        assert left_to_attach.keep_attached is SessionLayer.keep_attached
    assert Both.keep_attached is vars(Both)["keep_attached"]
    assert Other.keep_attached is layer_class.keep_attached is not SessionLayer.keep_attached
