"""Empty sessions: watched, while no message was accepted in them yet. They are kept by their viewers alone."""

import pytest

from relay.exceptions import LeaseLost, NotOwner, SessionDeleted, StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.values import CancelStatus
from relay.protocol.cursor import UNKNOWN
from relay.protocol.frames import ReplayGap
from relay.testing.turns import S, answer, cursor_at, enqueue, gap_at, log, say, start, tailing

VIEWER_SECONDS = 60.0


async def epoch(layer, session_id=S):
    return (await layer.ensure(session_id)).epoch


async def listed(layer):
    return [state.session_id for state in (await layer.active("", 10))[0]]


# The session as it is kept.


async def read(layer):
    with pytest.raises(ReplayGap):
        await layer.read(S, UNKNOWN, 10)


async def tail(layer):
    async with tailing(layer, UNKNOWN) as tail:
        assert isinstance(await tail.raises(), ReplayGap)


async def state(layer):
    await layer.ensure(S)


async def attach(layer):
    await layer.attach(S, "one")


@pytest.mark.parametrize("look", [attach, state, read, tail], ids=lambda f: f.__name__)
async def test_looking_at_a_session_begins_none(layer, peer, look):
    await look(layer)
    assert await listed(peer) == []
    assert (await peer.get(S)).is_empty
    assert await peer.pending(10) == []
    assert await peer.claim(S, "claim") is None


async def test_an_empty_session_has_an_epoch_and_its_viewers_and_nothing_else(store, layer, peer):
    await layer.attach(S, "one")
    await store.advance(5)
    await layer.attach(S, "two")
    state = await peer.get(S)
    assert (state.is_empty, state.oldest, state.newest, state.viewers) == (True, 1, 0, 2)
    assert (state.active_turn_id, state.active_after, state.queued) == (None, 0, ())
    assert (state.idle_seconds, state.age_seconds) == (5, 5)
    assert await layer.cancel_unwatched(S) == await layer.clear_queue(S) == 0
    assert (await layer.cancel(S)).status is CancelStatus.UNKNOWN


async def test_the_first_message_makes_it_a_session_under_the_same_epoch(layer, peer):
    await layer.attach(S, "one", "alice")
    kept = await epoch(layer)
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await answer(peer, subject="alice")
        await tail.has(2)
        assert tail.shown == ["user:hi", "final:stop"]
    state = await peer.get(S)
    assert (state.is_empty, state.epoch, state.viewers) == (False, kept, 1)
    assert await listed(layer) == [S]
    with pytest.raises(NotOwner):
        await peer.attach(S, "two", "bob")


async def test_a_session_stays_when_its_last_viewer_has_left(layer):
    await layer.attach(S, "one")
    await answer(layer)
    kept = await epoch(layer)
    assert await layer.detach(S, "one") == 0
    assert (await layer.get(S)).epoch == kept


async def test_a_message_without_viewers_makes_a_session(layer):
    await enqueue(layer)
    state = await layer.get(S)
    assert (state.is_empty, state.viewers) == (False, 0)
    assert await listed(layer) == [S]


# How long.


async def test_an_empty_session_ends_with_its_last_viewer(layer, peer):
    await layer.attach(S, "one", "alice")
    await peer.attach(S, "two", "alice")
    kept = await epoch(layer)
    await layer.detach(S, "one")
    assert await epoch(layer) == kept
    with pytest.raises(NotOwner):
        await peer.attach(S, "three", "bob")
    assert await peer.detach(S, "two") == 0
    assert await layer.get(S) is None
    await peer.attach(S, "three", "bob")
    assert await epoch(layer) != kept


async def test_an_empty_session_lapses_with_its_viewers_and_not_before(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    await layer.attach(S, "one")
    kept = await epoch(layer)
    await store.advance(VIEWER_SECONDS / 2)
    await layer.attach(S, "one")
    await store.advance(VIEWER_SECONDS - 0.25)
    assert (await layer.get(S)).epoch == kept
    await store.advance(0.25)
    assert await layer.get(S) is None
    assert await epoch(layer) != kept


async def test_an_empty_session_that_was_looked_at_only_lapses_too(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    kept = await epoch(layer)
    await store.advance(VIEWER_SECONDS - 0.25)
    assert await epoch(layer) == kept
    await store.advance(0.25)
    assert await layer.get(S) is None


async def test_a_tail_learns_that_its_empty_session_was_started_again(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await layer.attach(S, "one")
        await store.advance(VIEWER_SECONDS)
        await answer(layer)
        assert isinstance(await tail.raises(), ReplayGap)


async def test_a_message_after_an_empty_session_has_lapsed_begins_a_new_epoch_without_owner(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    await layer.attach(S, "one", "alice")
    kept = await epoch(layer)
    await store.advance(VIEWER_SECONDS)
    await enqueue(layer, subject="bob")
    state = await layer.ensure(S)
    assert state.epoch != kept
    assert state.viewers == 0


async def test_a_session_that_expires_while_it_is_watched_is_empty_again(store):
    layer = await store.layer(Bounds(ttl_seconds=100, viewer_seconds=VIEWER_SECONDS))
    await answer(layer)
    kept = await epoch(layer)
    await store.advance(100)
    await layer.attach(S, "one")
    assert await listed(layer) == []
    assert (await layer.get(S)).is_empty
    assert await epoch(layer) != kept


async def test_delete_ends_an_empty_session_and_tells_its_viewers(layer, peer):
    await layer.attach(S, "one", "alice")
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        assert await layer.read(S, await cursor_at(layer, 0), 1) == []
        assert await peer.delete(S)
        assert isinstance(await tail.raises(), (SessionDeleted, ReplayGap))  # a gap if it had not started yet
    await layer.delete(S)  # which has started again by then
    await peer.attach(S, "two", "bob")


# A refused call leaves nothing behind.


async def test_a_message_of_another_subject_leaves_an_empty_session_empty(layer, peer):
    await layer.attach(S, "one", "alice")
    with pytest.raises(NotOwner):
        await enqueue(peer, subject="bob")
    assert (await layer.get(S)).is_empty
    with pytest.raises(NotOwner):
        await peer.cancel(S, subject="bob")


async def test_reset_writes_into_an_empty_session(store, layer):
    """The store came back empty, and the viewers were first."""
    turn = await start(layer)
    await say(layer, turn, "a")
    await store.forget(S)
    await layer.attach(S, "one")
    await layer.reset(turn, "a")
    assert await log(layer) == ["error:buffer_lost"]
    state = await layer.get(S)
    assert (state.is_empty, state.viewers) == (False, 1)
    assert (await gap_at(layer, UNKNOWN)).text == "a"


async def test_a_refused_reset_begins_no_session(layer):
    turn = await start(layer)
    await layer.delete(S)
    with pytest.raises(LeaseLost):
        await say(layer, turn, "a")
    assert await layer.get(S) is None


# How many.


@pytest.mark.parametrize("look", [attach, state, read], ids=lambda f: f.__name__)
async def test_one_more_empty_session_than_there_may_be_is_refused(store, look):
    layer = await store.layer(Bounds(max_empty_sessions=2, viewer_seconds=VIEWER_SECONDS))
    a, b = store.beside(S, 2)
    for name in (a, b):
        await layer.attach(name, "one")
    with pytest.raises(StoreUnavailable):
        await look(layer)
    await layer.attach(a, "two")  # it is there
    await layer.detach(b, "one")
    await look(layer)


async def test_lapsed_empty_sessions_do_not_count(store):
    layer = await store.layer(Bounds(max_empty_sessions=1, viewer_seconds=VIEWER_SECONDS))
    await layer.attach(*store.beside(S, 1), "one")
    await store.advance(VIEWER_SECONDS - 0.25)
    with pytest.raises(StoreUnavailable):
        await layer.attach(S, "one")
    await store.advance(0.25)
    await layer.attach(S, "one")


async def test_messages_need_no_room_among_empty_sessions(store):
    layer = await store.layer(Bounds(max_empty_sessions=1, viewer_seconds=VIEWER_SECONDS))
    a, b = store.beside(S, 2)
    await layer.attach(a, "one")
    await enqueue(layer)
    await layer.attach(S, "one")
    await enqueue(layer, session_id=a)
    await layer.attach(b, "one")
    assert await listed(layer) == sorted([a, S])


async def test_empty_sessions_never_make_room_at_the_cost_of_others(store):
    layer = await store.layer(Bounds(max_sessions=2, max_empty_sessions=100, viewer_seconds=VIEWER_SECONDS))
    for name in "ab":
        await answer(layer, session_id=name)
    kept = {name: await epoch(layer, name) for name in "ab"}
    for number in range(100):
        await layer.attach(f"empty {number}", "one")
    assert {name: await epoch(layer, name) for name in "ab"} == kept
    assert await listed(layer) == ["a", "b"]


async def test_flush_ends_empty_sessions_too(layer):
    await layer.attach(S, "one", "alice")
    await layer.flush()
    assert await layer.get(S) is None
