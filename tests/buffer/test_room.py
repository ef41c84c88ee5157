"""The memory layer's bound of sessions: room for one more. (Redis keeps no count of sessions.)"""

import pytest

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.testing.turns import S, answer, claim, enqueue, start, stop


async def epoch(layer, session_id=S):
    return (await layer.ensure(session_id)).epoch


async def test_room_is_made_for_one_session_more_by_the_least_recently_used(store):
    layer = await store.layer(Bounds(max_sessions=3))
    for name in "abc":
        await answer(layer, session_id=name)
    kept = {name: await epoch(layer, name) for name in "abc"}
    await answer(layer, session_id="a")
    await answer(layer, session_id="d")
    assert {state.session_id for state in (await layer.active("", 10))[0]} == {"a", "c", "d"}
    assert await epoch(layer, "a") == kept["a"]


async def test_sessions_with_work_are_not_forgotten_for_others(store):
    layer = await store.layer(Bounds(max_sessions=2))
    await enqueue(layer, session_id="queued")
    await answer(layer, session_id="idle")
    await start(layer, session_id="new")
    assert {state.session_id for state in (await layer.active("", 10))[0]} == {"queued", "new"}
    with pytest.raises(StoreUnavailable):
        await enqueue(layer, session_id="third")
    await stop(layer, await claim(layer, "queued"))
    await enqueue(layer, session_id="third")


async def test_watched_sessions_do_not_make_room_for_others(store):
    """Their viewers would start them again at once, in place of each other, without end."""
    layer = await store.layer(Bounds(max_sessions=2, viewer_seconds=60))
    kept = {}
    for name in "ab":
        await layer.attach(name, "viewer")
        await answer(layer, session_id=name)
        kept[name] = await epoch(layer, name)
    with pytest.raises(StoreUnavailable):
        await layer.attach("c", "viewer")
    with pytest.raises(StoreUnavailable):
        await enqueue(layer, session_id="c")
    assert {name: await epoch(layer, name) for name in "ab"} == kept


async def test_a_session_makes_room_when_its_last_viewer_has_left(store):
    layer = await store.layer(Bounds(max_sessions=2, viewer_seconds=60))
    for name, viewer in (("a", "one"), ("a", "two"), ("b", "one")):
        await layer.attach(name, viewer)
        await answer(layer, session_id=name)
    await layer.detach("a", "one")
    with pytest.raises(StoreUnavailable):
        await layer.attach("c", "viewer")
    await layer.detach("a", "two")
    await layer.attach("c", "viewer")
    await answer(layer, session_id="c")
    assert {state.session_id for state in (await layer.active("", 10))[0]} == {"b", "c"}


async def test_a_session_makes_room_when_its_viewers_have_lapsed_and_not_before(store):
    layer = await store.layer(Bounds(max_sessions=1, viewer_seconds=60))
    await layer.attach("a", "viewer")
    await answer(layer, session_id="a")
    await store.advance(59.75)
    with pytest.raises(StoreUnavailable):
        await layer.attach("b", "viewer")
    await store.advance(0.25)
    await layer.attach("b", "viewer")
    await answer(layer, session_id="b")


async def test_a_store_full_of_work_takes_no_session_more(store):
    layer = await store.layer(Bounds(max_sessions=2))
    await enqueue(layer, session_id="queued")
    await start(layer, session_id="running")
    with pytest.raises(StoreUnavailable):
        await enqueue(layer, session_id="third")
    await enqueue(layer, session_id="queued")  # the known ones go on


async def test_attach_is_refused_where_there_is_no_room(store):
    layer = await store.layer(Bounds(max_sessions=1))
    await enqueue(layer, session_id="busy")
    with pytest.raises(StoreUnavailable):
        await layer.attach(S, "one")
    with pytest.raises(StoreUnavailable):
        await layer.ensure(S)
