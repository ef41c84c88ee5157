"""Sessions: their viewers, their owners, their state, and their end."""

import pytest

from relay.exceptions import NotOwner, SessionDeleted, TurnCancelled
from relay.layers.bounds import Bounds
from relay.layers.values import CancelAck, CancelStatus
from relay.protocol.client_messages import OnBusy
from relay.testing.turns import S, answer, claim, cursor_at, enqueue, log, run_queue, say, start, stop, tailing

VIEWER_SECONDS = 60.0


async def viewers(layer):
    return (await layer.ensure(S)).viewers


# Viewers.


async def test_attach_counts_each_viewer_once(layer, peer):
    assert await layer.attach(S, "one") == 1
    assert await layer.attach(S, "one") == 1
    assert await peer.attach(S, "two") == 2
    assert await viewers(layer) == 2


async def test_detach_returns_how_many_are_left(layer):
    for viewer in "abc":
        await layer.attach(S, viewer)
    assert [await layer.detach(S, viewer) for viewer in "abc"] == [2, 1, 0]
    assert await viewers(layer) == 0


async def test_detach_repeated_after_a_lost_reply_takes_out_once(layer):
    await layer.attach(S, "one")
    await layer.attach(S, "two")
    assert [await layer.detach(S, "one") for _ in range(2)] == [1, 1]


async def test_detach_of_a_viewer_or_session_that_is_unknown_changes_nothing(layer):
    assert await layer.detach("unknown", "one") == 0
    assert await layer.active("", 10) == ([], "")
    await layer.attach(S, "one")
    assert await layer.detach(S, "stranger") == 1


async def test_a_viewer_counts_for_viewer_seconds_after_its_last_sign_of_life(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    await layer.attach(S, "stays")
    await layer.attach(S, "gone")
    await store.advance(VIEWER_SECONDS / 2)
    await layer.attach(S, "stays")
    await store.advance(VIEWER_SECONDS / 2 - 0.25)
    assert await viewers(layer) == 2
    await store.advance(0.25)
    assert await viewers(layer) == 1
    await store.advance(VIEWER_SECONDS / 2)
    assert await viewers(layer) == 0


async def test_detach_does_not_count_viewers_that_lapsed(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS))
    await layer.attach(S, "gone")
    await store.advance(VIEWER_SECONDS)
    await layer.attach(S, "one")
    assert await layer.detach(S, "one") == 0


# Owners.


async def test_a_session_belongs_to_the_first_subject_that_attached(layer, peer):
    await layer.attach(S, "one", "alice")
    await peer.attach(S, "two", "alice")
    with pytest.raises(NotOwner):
        await peer.attach(S, "three", "bob")
    assert await viewers(layer) == 2


async def test_a_viewer_without_a_subject_takes_no_session(layer):
    await layer.attach(S, "one")
    await layer.attach(S, "two", "alice")
    with pytest.raises(NotOwner):
        await layer.attach(S, "three", "bob")


async def test_the_owner_stays_without_viewers(layer):
    await layer.attach(S, "one", "alice")
    await answer(layer, subject="alice")
    await layer.detach(S, "one")
    with pytest.raises(NotOwner):
        await layer.attach(S, "two", "bob")


async def test_a_session_has_no_owner_after_it_was_deleted(layer):
    await layer.attach(S, "one", "alice")
    await layer.delete(S)
    await layer.attach(S, "two", "bob")


# Without viewers.


async def test_cancel_unwatched_cancels_the_running_and_the_queued_turns(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    assert await layer.cancel_unwatched(S) == 2
    with pytest.raises(TurnCancelled):
        await say(layer, turn, "x")
    await stop(layer, turn)
    await run_queue(layer)
    assert await log(layer) == ["user:a", "final:cancelled", "user:b", "final:cancelled"]


async def test_cancel_unwatched_repeated_cancels_each_turn_once(layer):
    await start(layer)
    assert [await layer.cancel_unwatched(S) for _ in range(2)] == [1, 0]


async def test_cancel_unwatched_lets_detached_turns_run(layer):
    turn = await start(layer, is_detached=True)
    await enqueue(layer, "b", is_detached=True)
    await enqueue(layer, "c")
    assert await layer.cancel_unwatched(S) == 1
    await layer.renew(turn)
    await stop(layer, turn)
    await run_queue(layer)
    assert (await log(layer)).count("final:cancelled") == 1


async def test_cancel_unwatched_with_a_viewer_cancels_nothing(store):
    layer = await store.layer(Bounds(viewer_seconds=VIEWER_SECONDS, lease_seconds=VIEWER_SECONDS * 2))
    turn = await start(layer)
    await layer.attach(S, "one")
    assert await layer.cancel_unwatched(S) == 0
    await layer.renew(turn)
    await store.advance(VIEWER_SECONDS)
    assert await layer.cancel_unwatched(S) == 1


async def test_cancel_unwatched_of_an_unknown_session_begins_none(layer):
    assert await layer.cancel_unwatched(S) == 0
    assert await layer.active("", 10) == ([], "")


# State.


async def test_state_of_an_unknown_session_gives_the_epoch_of_its_first_frame(layer, peer):
    state = await layer.ensure(S)
    assert (state.oldest, state.newest, state.active_turn_id, state.queued) == (1, 0, None, ())
    assert 1 <= len(state.epoch) <= 32
    assert state.epoch.isalnum()
    turn = await start(peer)
    assert (await layer.ensure(S)).epoch == state.epoch
    assert await layer.read(S, await cursor_at(layer, 0), 10)
    await stop(peer, turn)


async def test_state_describes_a_session_through_a_turns_life(layer):
    queued = [(await enqueue(layer)).turn_id for _ in range(2)]
    assert (await layer.ensure(S)).queued == tuple(queued)
    turn = await claim(layer)
    state = await layer.ensure(S)
    assert (state.active_turn_id, state.is_cancelling, state.queued) == (queued[0], False, (queued[1],))
    assert (state.active_after, state.newest) == (0, 1)
    await say(layer, turn, "a")
    await layer.cancel(S)
    state = await layer.ensure(S)
    assert (state.active_after, state.newest, state.is_cancelling) == (0, 2, True)
    await stop(layer, turn)
    state = await layer.ensure(S)
    assert (state.active_turn_id, state.is_cancelling, state.active_after, state.newest) == (None, False, 3, 3)


async def test_state_lists_the_queue_in_the_order_in_which_it_will_run(layer):
    await start(layer)
    last = await enqueue(layer)
    first = await enqueue(layer, on_busy=OnBusy.INTERRUPT)
    assert (await layer.ensure(S)).queued == (first.turn_id, last.turn_id)


async def test_idle_seconds_count_from_the_last_frame_or_message(store, layer):
    async def idle():
        return (await layer.ensure(S)).idle_seconds

    await layer.ensure(S)
    await store.advance(1)
    assert await idle() == 1
    await enqueue(layer)
    assert await idle() == 0
    await store.advance(1)
    turn = await claim(layer)
    assert await idle() == 0
    await store.advance(1)
    await say(layer, turn, "a")
    assert await idle() == 0
    await store.advance(1)
    await stop(layer, turn)
    await store.advance(2)
    assert await idle() == 2


async def test_age_counts_from_the_start_of_the_session_whatever_is_said(store, layer):
    await layer.ensure(S)
    await store.advance(10)
    await enqueue(layer)
    await stop(layer, await claim(layer))
    await store.advance(5)
    assert (await layer.ensure(S)).age_seconds == 15


async def test_idle_seconds_do_not_stand_still_because_of_a_viewer(store, layer):
    await answer(layer)
    await store.advance(20)
    await layer.attach(S, "viewer")
    assert (await layer.ensure(S)).idle_seconds == 20


async def test_find_describes_a_session_as_state_does(layer, peer):
    await start(layer)
    assert await peer.get(S) == await layer.ensure(S)


async def test_find_of_an_unknown_session_gives_nothing_and_begins_none(layer):
    assert await layer.get(S) is None
    assert await layer.active("", 10) == ([], "")


async def test_find_of_a_deleted_session_gives_nothing(layer):
    await answer(layer)
    await layer.delete(S)
    assert await layer.get(S) is None


# Ends.


async def test_delete_says_whether_the_session_existed(layer):
    assert not await layer.delete(S)
    await layer.ensure(S)
    assert await layer.delete(S)
    assert not await layer.delete(S)


async def test_a_deleted_session_begins_a_new_life(layer):
    turn = await answer(layer, client_message_id="one")
    epoch = (await layer.ensure(S)).epoch
    await layer.delete(S)
    assert await layer.cancel(S, turn.turn_id) == CancelAck(turn.turn_id, CancelStatus.UNKNOWN)
    assert (await layer.ensure(S)).epoch != epoch
    assert (await layer.ensure(S)).newest == 0
    assert not (await enqueue(layer, "other", client_message_id="one")).duplicate


async def test_running_and_queued_turns_end_with_their_session(layer):
    await start(layer)
    await enqueue(layer)
    await layer.delete(S)
    assert await claim(layer) is None


async def test_flush_erases_every_session_and_tells_its_viewers(layer):
    await start(layer, session_id="one")
    await answer(layer, session_id=S)
    async with tailing(layer, await cursor_at(layer, 0)) as tail:
        await tail.has(2)
        await layer.flush()
        assert isinstance(await tail.raises(), SessionDeleted)
    assert await layer.active("", 10) == ([], "")
