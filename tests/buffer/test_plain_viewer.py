"""A plain viewer of a session that its store has lost."""

import asyncio
import json
from contextlib import aclosing

import pytest

from relay.delivery.subscription import PlainSubscription
from relay.exceptions import TooSlow
from relay.testing.turns import LIMIT_SECONDS, S, claim, enqueue, say, start


async def test_a_plain_viewer_of_a_lost_turn_is_not_shown_the_next_one_as_its_rest(store, layer, peer):
    turn = await start(layer)
    await say(layer, turn, "a")
    viewer = PlainSubscription(peer, S)
    await viewer.start()
    async with asyncio.timeout(LIMIT_SECONDS), aclosing(viewer.batches()) as batches:
        assert [json.loads(text)["token"] for text in viewer.encode(await anext(batches))] == ["a"]
        await store.forget(S)
        await enqueue(layer, "next")  # no worker has started it when the viewer looks
        assert list(viewer.encode(await anext(batches))) == []
        await say(layer, await claim(layer), "b")
        with pytest.raises(TooSlow):
            viewer.encode(await anext(batches))
