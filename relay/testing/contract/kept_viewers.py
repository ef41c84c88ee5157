"""Viewers that are kept attached together. A layer may leave any of them to ``attach``, and then changes nothing."""

import pytest

from relay.exceptions import NotOwner
from relay.layers.bounds import Bounds
from relay.layers.values import Viewer
from relay.protocol.cursor import Cursor
from relay.testing.turns import S, answer, kept, start, stay, stop

VIEWER_SECONDS = 60.0
TTL_SECONDS = 600.0


@pytest.fixture
async def watched(store):
    """A layer in which a viewer counts for a tenth of the time for which a session is kept."""
    return await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS, ttl_seconds=TTL_SECONDS))


async def newest(layer, session_id=S):
    state = await layer.get(session_id)
    return Cursor(state.epoch, state.newest)


async def watching(layer, session_id=S):
    state = await layer.get(session_id)
    return None if state is None else state.viewers


@pytest.mark.parametrize("has_started", [False, True], ids=["empty", "started"])
async def test_heartbeats_keep_viewer_and_session_for_longer_than_both_last(store, watched, has_started):
    viewer = Viewer(S, "one", "alice")
    await watched.attach(*viewer)
    if has_started:
        await answer(watched, subject="alice")
    epoch = (await watched.get(S)).epoch
    for _ in range(40):
        await store.advance(VIEWER_SECONDS / 3)
        await stay(watched, viewer)
    await store.advance(VIEWER_SECONDS - 0.25)
    assert ((await watched.get(S)).epoch, await watching(watched)) == (epoch, 1)
    await store.advance(0.25)
    assert await watching(watched) == (0 if has_started else None)


async def test_a_session_outlives_its_last_heartbeat_by_more_than_half_of_its_time(store, watched):
    viewer = Viewer(S, "one")
    await watched.attach(*viewer)
    await answer(watched)
    for _ in range(20):
        await store.advance(VIEWER_SECONDS / 3)
        await stay(watched, viewer)
    await store.advance(TTL_SECONDS / 2)
    assert not (await watched.get(S)).is_empty
    await store.advance(TTL_SECONDS / 2)
    assert await watched.get(S) is None


async def test_the_answer_is_the_newest_position_of_the_log(layer):
    viewer = Viewer(S, "one")
    await layer.attach(*viewer)
    assert await stay(layer, viewer) in (None, await newest(layer))
    await answer(layer, "hi", "a", "b")
    assert await stay(layer, viewer) in (None, await newest(layer))


async def test_a_running_turn_keeps_its_lease_beside_heartbeats(layer):
    viewer = Viewer(S, "one")
    await layer.attach(*viewer)
    turn = await start(layer)
    await stay(layer, viewer)
    await layer.renew(turn)
    await stop(layer, turn)


async def test_each_of_many_viewers_has_an_answer_of_its_own(layer):
    viewers = [Viewer(f"{S} {number % 7}", f"viewer {number}") for number in range(50)]
    for viewer in viewers:
        await layer.attach(*viewer)
    unknown = [Viewer("unknown", "one"), Viewer(f"{S} 3", "unknown"), Viewer(f"{S} 3", "unknown", "alice")]
    answers = await kept(layer, *viewers, *unknown)
    assert answers[len(viewers) :] == [None] * len(unknown)
    for viewer, position in zip(viewers, answers, strict=False):
        assert position in (None, await newest(layer, viewer.session_id))


async def test_no_viewers_are_no_call(layer):
    assert await kept(layer) == []


async def test_a_viewer_that_is_not_attached_is_not_kept_and_nothing_is_created(store, layer):
    assert await kept(layer, Viewer(S, "one")) == [None]
    assert await layer.get(S) is None
    await layer.attach(S, "other")
    assert await kept(layer, Viewer(S, "one")) == [None]
    assert await watching(layer) == 1
    await layer.attach(S, "one")
    await layer.detach(S, "one")
    assert await kept(layer, Viewer(S, "one")) == [None]
    assert await watching(layer) == 1
    await store.advance(VIEWER_SECONDS)
    assert await kept(layer, Viewer(S, "other")) == [None]
    assert await layer.get(S) is None


async def test_a_viewer_that_has_lapsed_is_not_kept(store, watched):
    await watched.attach(S, "one")
    await answer(watched)
    await store.advance(VIEWER_SECONDS)
    assert await kept(watched, Viewer(S, "one")) == [None]
    assert await watching(watched) == 0


async def test_a_viewer_of_a_session_that_was_lost_is_not_kept(store, layer):
    viewer = Viewer(S, "one", "alice")
    await layer.attach(*viewer)
    await answer(layer, subject="alice")
    await store.forget(S)
    assert await kept(layer, viewer) == [None]
    assert await layer.get(S) is None
    await stay(layer, viewer)
    assert await watching(layer) == 1


async def test_a_viewer_of_a_session_that_is_another_subjects_now_is_not_kept(layer, peer):
    viewer = Viewer(S, "one", "alice")
    await layer.attach(*viewer)
    await layer.delete(S)
    await peer.attach(S, "one", "bob")
    assert await kept(layer, viewer) == [None]
    with pytest.raises(NotOwner):
        await stay(layer, viewer)


async def test_a_heartbeat_makes_a_session_without_an_owner_the_subjects_own(layer, peer):
    await layer.attach(S, "one")
    await stay(layer, Viewer(S, "one", "alice"))
    with pytest.raises(NotOwner):
        await peer.attach(S, "two", "bob")


async def test_a_viewer_without_a_subject_is_kept_in_any_session(layer):
    await layer.attach(S, "owner", "alice")
    await layer.attach(S, "service")
    await stay(layer, Viewer(S, "service"))
    assert await watching(layer) == 2
    assert (await layer.get(S)).owner == "alice"
