"""Constant cost: a call does as many steps among thousands of sessions as among a few.

Steps are counted, not timed: calls of Python and of C functions, by the interpreter's own hook. A store in another
process counts the commands that go out to it instead; here both are the same.
"""

import gc
import sys

import pytest

from relay.layers.bounds import Bounds
from relay.layers.values import new_id
from relay.protocol.cursor import Cursor
from relay.testing.turns import S, message, tokens

FEW, MANY = 5, 5_000


async def steps(call):
    count = 0

    def hook(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what it collects is not the call's doing
    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        result = await call
    finally:
        sys.setprofile(before)
        gc.enable()
    return count, result


async def one_life(layer):
    """Every call of a turn's life. Returns how many steps each took."""
    cost = {}

    async def measure(name, call):
        cost[name], result = await steps(call)
        return result

    state = await measure("state", layer.ensure(S))
    await measure("attach", layer.attach(S, "viewer"))
    await measure("enqueue", layer.enqueue(S, message()))
    await measure("enqueue behind another", layer.enqueue(S, message()))
    await measure("pending", layer.pending(3))
    turn = await measure("claim", layer.claim(S, new_id()))
    await measure("claim of a leased session", layer.claim(S, new_id()))
    await measure("append", layer.append(turn, tokens(turn, "a", "b")))
    await measure("append again", layer.append(turn, tokens(turn, "c")))
    await measure("renew", layer.renew(turn))
    await measure("read", layer.read(S, Cursor(state.epoch, 2), 10))
    await measure("cancel", layer.cancel(S))
    await measure("finish", layer.finish(turn, tokens(turn, "x")[0]))
    await measure("clear_queue", layer.clear_queue(S))
    await measure("detach", layer.detach(S, "viewer"))
    await measure("delete", layer.delete(S))
    return cost


async def a_crowd(layer, count):
    """Sessions of each kind: idle, watched, waiting, leased."""
    for i in range(count):
        name = f"crowd {i}"
        await layer.ensure(name)
        if i % 4 == 1:
            await layer.attach(name, "viewer")
        if i % 4 >= 2:
            await layer.enqueue(name, message())
        if i % 4 == 3:
            await layer.claim(name, new_id())


async def test_no_call_costs_more_among_many_sessions(store):
    costs = []
    for count in (FEW, MANY):
        layer = await store.layer(Bounds())
        await a_crowd(layer, count)
        await one_life(layer)  # warm caches
        costs.append(await one_life(layer))
    few, many = costs
    assert many.pop("pending") <= few.pop("pending") + 3  # it names three
    assert many == few


async def test_making_room_costs_the_same_in_a_large_store(store):
    costs = []
    for count in (FEW, MANY):
        layer = await store.layer(Bounds(max_sessions=count))
        for i in range(count):
            await layer.ensure(f"crowd {i}")
        await layer.ensure("warm")
        costs.append((await steps(layer.ensure("one more")))[0])
    assert costs[0] == costs[1]


@pytest.mark.parametrize("call", ["append", "read", "repeat"])
async def test_no_write_or_read_costs_more_in_a_long_log(store, call):
    costs = []
    for length in (20, 5_000):
        layer = await store.layer(Bounds())
        await layer.enqueue(S, message())
        turn = await layer.claim(S, new_id())
        await layer.append(turn, tokens(turn, *["x"] * length))
        state = await layer.ensure(S)
        calls = {
            "append": lambda turn=turn, layer=layer: layer.append(turn, tokens(turn, "y")),
            "read": lambda state=state, layer=layer: layer.read(S, Cursor(state.epoch, state.newest - 5), 10),
            "repeat": lambda turn=turn, layer=layer: _repeat(layer, turn),
        }
        await calls[call]()
        costs.append((await steps(calls[call]()))[0])
    assert costs[0] == costs[1]


async def _repeat(layer, turn):
    turn.append_number -= 1
    await layer.append(turn, tokens(turn, "y"))


async def test_trimming_costs_no_more_per_frame_in_a_long_log(store):
    """Over many appends, because places are given back now and then."""
    costs = []
    for max_frames in (50, 5_000):
        layer = await store.layer(Bounds(max_frames=max_frames))
        await layer.enqueue(S, message())
        turn = await layer.claim(S, new_id())
        await layer.append(turn, tokens(turn, *["x"] * max_frames))
        costs.append(sum([(await steps(layer.append(turn, tokens(turn, "y"))))[0] for _ in range(1_000)]))
    assert abs(costs[0] - costs[1]) <= 10
