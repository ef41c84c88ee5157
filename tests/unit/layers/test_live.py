"""The tails that wait for a session's next frame: each is offered the frame that follows its place, no other."""

import asyncio

from relay.layers.live import LiveSubscribers
from relay.protocol import frames


def token(offset):
    frame = frames.token("t", "a")
    frame.offset = offset
    return frame


class Sink:
    """Notes what it is offered, and accepts it or not."""

    def __init__(self, offered, *, takes):
        self._offered = offered
        self._takes = takes

    def push(self, pushed):
        self._offered += [frame.offset for frame in pushed]
        return self._takes


async def waiting(subscribers, offset, taken, *, takes=True):
    """Let a tail wait behind ``offset``; what it is offered goes into ``taken``."""

    loop = asyncio.get_running_loop()
    tail = asyncio.ensure_future(subscribers.wait(offset, Sink(taken, takes=takes), loop))
    await asyncio.sleep(0)
    return tail


async def test_a_frame_is_taken_only_by_the_tail_whose_place_it_follows():
    subscribers, early, next_one, late = LiveSubscribers(), [], [], []
    behind = await waiting(subscribers, 3, early)
    in_place = await waiting(subscribers, 4, next_one)
    ahead = await waiting(subscribers, 5, late)
    subscribers.push([token(5)])
    assert (early, next_one, late) == ([], [5], [])
    assert (await behind, await ahead) == (3, 5), "each is woken, and reads the log from its own place"
    assert not in_place.done()
    subscribers.push([token(6)])
    subscribers.notify()
    assert next_one == [5, 6]
    assert await in_place == 6


async def test_a_tail_that_refuses_a_frame_is_woken_at_the_place_before_it():
    subscribers, offered = LiveSubscribers(), []
    tail = await waiting(subscribers, 4, offered, takes=False)
    subscribers.push([token(5)])
    subscribers.push([token(6)])
    assert await tail == 4
    assert offered == [5], "it does not wait any more"


async def test_a_tail_that_was_cancelled_is_offered_nothing():
    subscribers, offered = LiveSubscribers(), []
    tail = await waiting(subscribers, 4, offered)
    tail.cancel()
    subscribers.push([token(5)])
    await asyncio.gather(tail, return_exceptions=True)
    subscribers.push([token(5)])
    assert offered == []
