"""``enqueue``: a message is stored once, in its place, or refused."""

import asyncio

import pytest

from relay.exceptions import IdempotencyConflict, QueueFull, SessionBusy
from relay.layers.bounds import Bounds
from relay.layers.values import Accepted, CancelAck, CancelStatus, NewTurn, new_id
from relay.protocol import json_text
from relay.protocol.client_messages import OnBusy
from relay.protocol.cursor import Cursor
from relay.testing.turns import LEASE_SECONDS, S, answer, claim, enqueue, log, message, run_queue, start, stop

REJECT, INTERRUPT = OnBusy.REJECT, OnBusy.INTERRUPT


async def test_enqueue_writes_no_frame(layer):
    await enqueue(layer)
    state = await layer.ensure(S)
    assert (state.oldest, state.newest, state.active_turn_id) == (1, 0, None)


async def test_enqueue_on_an_idle_session_is_queued_at_position_0(layer):
    new = message()
    assert await layer.enqueue(S, new) == Accepted(new.turn_id, 0, "queued", False)


async def test_position_counts_the_queued_turns_and_not_the_running_one(layer):
    await start(layer)
    assert [(await enqueue(layer)).position for _ in range(3)] == [0, 1, 2]


async def test_the_queue_runs_first_in_first_out(layer):
    for content in "abc":
        await enqueue(layer, content)
    assert await run_queue(layer) == ["a", "b", "c"]
    assert await log(layer) == ["user:a", "final:stop", "user:b", "final:stop", "user:c", "final:stop"]


async def test_sessions_have_queues_of_their_own(layer):
    await enqueue(layer, "a", session_id="one")
    await enqueue(layer, "b", session_id="two")
    assert await run_queue(layer, "one") == ["a"]
    assert await run_queue(layer, "two") == ["b"]


async def test_a_message_stored_here_is_claimed_there(layer, peer):
    accepted = await enqueue(layer, "hi")
    turn = await claim(peer)
    assert (turn.turn_id, turn.message["content"]) == (accepted.turn_id, "hi")


async def test_concurrent_messages_are_all_stored_once(layer, peer):
    await asyncio.gather(*(enqueue((layer, peer)[i % 2], str(i)) for i in range(10)))
    assert sorted(await run_queue(layer)) == sorted(str(i) for i in range(10))


# Repeated calls.


async def test_enqueue_repeated_after_a_lost_reply_stores_once(layer):
    new = message()
    first = await layer.enqueue(S, new)
    assert await layer.enqueue(S, new) == first
    assert (await layer.ensure(S)).queued == (new.turn_id,)


async def test_enqueue_repeated_while_its_turn_runs_says_running(layer):
    new = message()
    await layer.enqueue(S, new)
    turn = await claim(layer)
    assert await layer.enqueue(S, new) == Accepted(turn.turn_id, 0, "running", False)


async def test_enqueue_repeated_after_its_turn_ended_says_ended(layer):
    new = message()
    await layer.enqueue(S, new)
    await stop(layer, await claim(layer))
    assert await layer.enqueue(S, new) == Accepted(new.turn_id, None, "ended", False)
    assert await claim(layer) is None


async def test_enqueue_repeated_with_a_full_queue_is_not_refused(store):
    layer = await store.layer(Bounds(max_queue=1))
    new = message()
    first = await layer.enqueue(S, new)
    assert await layer.enqueue(S, new) == first


async def test_reject_repeated_is_not_busy_with_itself(layer):
    new = message(on_busy=REJECT)
    first = await layer.enqueue(S, new)
    assert await layer.enqueue(S, new) == first


async def test_interrupt_repeated_does_not_cancel_its_own_turn(layer):
    turn = await start(layer)
    new = message(on_busy=INTERRUPT)
    await layer.enqueue(S, new)
    await stop(layer, turn)
    turn = await claim(layer)
    assert await layer.enqueue(S, new) == Accepted(new.turn_id, 0, "running", False)
    await layer.renew(turn)  # it would raise TurnCancelled


# The client's own names.


@pytest.mark.parametrize("on_busy", OnBusy)
async def test_a_known_client_message_id_gives_its_turn_before_on_busy_is_looked_at(store, on_busy):
    layer = await store.layer(Bounds(max_queue=1))
    running = await start(layer, client_message_id="one")
    waiting = await enqueue(layer, client_message_id="two")
    one = await enqueue(layer, client_message_id="one", on_busy=on_busy)
    two = await enqueue(layer, client_message_id="two", on_busy=on_busy)
    assert one == Accepted(running.turn_id, 0, "running", True)
    assert two == Accepted(waiting.turn_id, 0, "queued", True)
    await layer.renew(running)  # nothing was interrupted
    assert (await layer.ensure(S)).queued == (waiting.turn_id,)


async def test_a_duplicate_of_an_ended_turn_has_no_position(layer):
    turn = await answer(layer, client_message_id="one")
    assert await enqueue(layer, client_message_id="one") == Accepted(turn.turn_id, None, "ended", True)
    assert await claim(layer) is None


async def test_a_duplicate_repeated_after_a_lost_reply_is_still_one(layer):
    first = await enqueue(layer, client_message_id="one")
    again = message(client_message_id="one")
    assert await layer.enqueue(S, again) == await layer.enqueue(S, again)
    assert (await layer.ensure(S)).queued == (first.turn_id,)


@pytest.mark.parametrize("on_busy", OnBusy)
async def test_a_known_client_message_id_with_another_message_conflicts(layer, on_busy):
    await enqueue(layer, "hi", client_message_id="one")
    with pytest.raises(IdempotencyConflict):
        await enqueue(layer, "ho", client_message_id="one", on_busy=on_busy)
    assert await run_queue(layer) == ["hi"]


async def test_a_known_client_message_id_of_an_ended_turn_conflicts_too(layer):
    await answer(layer, "hi", client_message_id="one")
    with pytest.raises(IdempotencyConflict):
        await enqueue(layer, "ho", client_message_id="one")


async def test_messages_without_a_name_are_never_duplicates(layer):
    await enqueue(layer, "hi")
    await enqueue(layer, "hi")
    assert await run_queue(layer) == ["hi", "hi"]


async def test_a_client_message_id_belongs_to_its_session(layer):
    await enqueue(layer, session_id="one", client_message_id="name")
    assert not (await enqueue(layer, "other", session_id="two", client_message_id="name")).duplicate


async def test_a_refused_client_message_id_is_not_remembered(store):
    layer = await store.layer(Bounds(max_queue=1))
    turn = await start(layer)
    await enqueue(layer)
    with pytest.raises(QueueFull):
        await enqueue(layer, "full", client_message_id="one")
    with pytest.raises(SessionBusy):
        await enqueue(layer, "busy", client_message_id="one", on_busy=REJECT)
    await stop(layer, turn)
    await run_queue(layer)
    assert not (await enqueue(layer, "free", client_message_id="one")).duplicate


async def test_the_agent_never_sees_the_client_message_id(layer):
    turn = await start(layer, "hi", client_message_id="one")
    assert turn.message == {"type": "user_message", "content": "hi"}


async def test_the_agent_sees_a_turn_id_of_the_clients_and_the_log_shows_its_own(layer):
    rating = {"type": "rate", "turn_id": "another", "offset": 7, "from_offset": [1]}
    new = NewTurn(turn_id=new_id(), body=json_text.encode(rating))
    await layer.enqueue(S, new)
    turn = await claim(layer)
    assert turn.message == rating
    shown = await layer.read(S, Cursor(turn.epoch, 0), 10)
    assert [frame.v1 for frame in shown] == [f'{{"type":"rate","turn_id":"{new.turn_id}","offset":1}}']


# Full and busy.


@pytest.mark.parametrize("max_queue", [1, 2, 3])
async def test_the_queue_takes_max_queue_and_not_one_more(store, max_queue):
    layer = await store.layer(Bounds(max_queue=max_queue))
    await start(layer)
    for position in range(max_queue):
        assert (await enqueue(layer)).position == position
    with pytest.raises(QueueFull):
        await enqueue(layer)
    assert len((await layer.ensure(S)).queued) == max_queue


async def test_a_place_in_a_full_queue_is_free_when_its_head_runs(store):
    layer = await store.layer(Bounds(max_queue=1))
    turn = await start(layer)
    await enqueue(layer)
    await stop(layer, turn)
    await claim(layer)
    assert (await enqueue(layer)).position == 0


async def test_without_a_queue_one_message_runs_and_none_waits(store):
    """``MAX_QUEUE=0`` still answers: a running turn does not wait."""
    layer = await store.layer(Bounds(max_queue=0))
    turn = await start(layer, "a")
    with pytest.raises(QueueFull):
        await enqueue(layer, "b")
    await stop(layer, turn)
    await enqueue(layer, "c")
    with pytest.raises(QueueFull):
        await enqueue(layer, "d")  # the one before is not claimed yet
    assert await run_queue(layer) == ["c"]


async def test_reject_on_an_idle_session_is_stored(layer):
    assert (await enqueue(layer, on_busy=REJECT)).position == 0


async def test_reject_while_a_turn_runs_is_busy(layer):
    await start(layer)
    with pytest.raises(SessionBusy):
        await enqueue(layer, on_busy=REJECT)


async def test_reject_while_a_turn_is_queued_is_busy(layer):
    await enqueue(layer)
    with pytest.raises(SessionBusy):
        await enqueue(layer, on_busy=REJECT)


async def test_reject_after_the_turn_ended_is_stored(layer):
    await answer(layer)
    assert (await enqueue(layer, on_busy=REJECT)).position == 0


async def test_reject_with_a_full_queue_is_busy_rather_than_full(store):
    layer = await store.layer(Bounds(max_queue=1))
    await start(layer)
    await enqueue(layer)
    with pytest.raises(SessionBusy):
        await enqueue(layer, on_busy=REJECT)


# Interrupt.


async def test_interrupt_cancels_the_turn_in_flight_and_runs_next(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    assert (await enqueue(layer, "c", on_busy=INTERRUPT)).position == 0
    assert (await layer.ensure(S)).is_cancelling
    await stop(layer, turn)
    assert await run_queue(layer) == ["c", "b"]
    assert (await log(layer))[:3] == ["user:a", "final:cancelled", "user:c"]


async def test_two_interrupts_run_newest_first(layer):
    turn = await start(layer, "a")
    for content in "bc":
        await enqueue(layer, content)
    for content in "xy":
        await enqueue(layer, content, on_busy=INTERRUPT)
    await stop(layer, turn)
    assert await run_queue(layer) == ["y", "x", "b", "c"]


async def test_interrupt_on_an_idle_session_cancels_nothing(layer):
    await enqueue(layer, "a", on_busy=INTERRUPT)
    turn = await claim(layer)
    assert not turn.is_cancelled


async def test_interrupt_before_the_first_claim_goes_first_and_cancels_nothing(layer):
    await enqueue(layer, "a")
    await enqueue(layer, "b", on_busy=INTERRUPT)
    assert await run_queue(layer) == ["b", "a"]
    assert (await log(layer)).count("final:stop") == 2


async def test_interrupt_of_a_full_queue_is_stored(store):
    layer = await store.layer(Bounds(max_queue=1))
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    await enqueue(layer, "c", on_busy=INTERRUPT)
    await stop(layer, turn)
    assert await run_queue(layer) == ["c", "b"]


# Room.


async def test_a_message_of_an_unknown_session_is_unknown_to_cancel(layer):
    assert await layer.cancel("never seen", "turn") == CancelAck("turn", CancelStatus.UNKNOWN)


async def test_a_claim_tells_how_long_the_turn_has_waited(layer, store):
    await enqueue(layer)
    await store.advance(7)
    claimed = await claim(layer, claim_id="claim")
    assert claimed.waited_seconds == pytest.approx(7)
    await store.advance(1)
    assert (await claim(layer, claim_id="claim")).waited_seconds == pytest.approx(7)  # the call was repeated


async def test_a_claim_tells_how_long_an_abandoned_turn_has_run(layer, peer, store):
    """By all its workers together: a limit on its time holds for them as one."""
    await enqueue(layer)
    await store.advance(7)
    assert (await claim(layer)).ran_seconds == 0
    await store.advance(LEASE_SECONDS)
    assert (await claim(peer, claim_id="claim")).ran_seconds == pytest.approx(LEASE_SECONDS)
    await store.advance(1)
    taken = await claim(peer, claim_id="claim")  # the call was repeated
    assert taken.ran_seconds == pytest.approx(LEASE_SECONDS)
    await store.advance(3)
    await layer.release(taken)
    assert (await claim(layer)).ran_seconds == pytest.approx(LEASE_SECONDS + 4)


async def test_a_claim_gives_the_trace_context_that_came_with_the_message(layer):
    shown = f"00-{'a' * 32}-{'b' * 16}-01"
    await enqueue(layer, traceparent=shown)
    assert (await claim(layer, claim_id="claim")).traceparent == shown
    assert (await claim(layer, claim_id="claim")).traceparent == shown  # the call was repeated


async def test_a_message_without_a_trace_context_has_none(layer):
    await enqueue(layer)
    assert (await claim(layer)).traceparent is None
