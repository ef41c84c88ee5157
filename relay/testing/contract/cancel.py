"""``cancel``, ``clear_queue`` and ``wait_cancelled``: any tab may stop a turn; it ends once, in its place."""

import asyncio

import pytest

from relay.exceptions import TurnCancelled
from relay.layers.values import CancelAck, CancelStatus
from relay.protocol.client_messages import OnBusy
from relay.testing.turns import LIMIT_SECONDS, S, answer, claim, enqueue, log, run_queue, say, start, stop

CANCELLING, QUEUED, ALREADY_ENDED, UNKNOWN = CancelStatus


async def test_cancel_stops_the_turn_in_flight(layer, peer):
    turn = await start(layer)
    await enqueue(layer)
    assert await peer.cancel(S) == CancelAck(turn.turn_id, CANCELLING)
    assert (await layer.ensure(S)).is_cancelling
    with pytest.raises(TurnCancelled):
        await say(layer, turn, "a")


async def test_cancel_by_name_stops_the_turn_in_flight(layer):
    turn = await start(layer)
    assert await layer.cancel(S, turn.turn_id) == CancelAck(turn.turn_id, CANCELLING)


async def test_cancel_without_a_turn_in_flight_stops_the_queues_head(layer):
    head = await enqueue(layer, "a")
    await enqueue(layer, "b")
    assert await layer.cancel(S) == CancelAck(head.turn_id, QUEUED)
    assert (await claim(layer)).is_cancelled


async def test_cancel_by_name_of_a_queued_turn_lets_the_one_in_flight_run(layer):
    turn = await start(layer)
    waiting = await enqueue(layer)
    assert await layer.cancel(S, waiting.turn_id) == CancelAck(waiting.turn_id, QUEUED)
    await layer.renew(turn)
    assert not (await layer.ensure(S)).is_cancelling


async def test_a_turn_cancelled_while_queued_keeps_its_place_and_ends_cancelled(layer):
    turn = await start(layer, "a")
    middle = await enqueue(layer, "b")
    await enqueue(layer, "c")
    await layer.cancel(S, middle.turn_id)
    assert (await layer.ensure(S)).queued[0] == middle.turn_id
    await stop(layer, turn)
    claimed = await claim(layer)
    assert (claimed.turn_id, claimed.is_cancelled, claimed.is_abandoned) == (middle.turn_id, True, False)
    await stop(layer, claimed)
    assert await run_queue(layer) == ["c"]
    assert (await log(layer))[2:4] == ["user:b", "final:cancelled"]


async def test_a_cancelled_queued_turn_keeps_its_place_behind_an_interrupt(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    await layer.cancel(S, (await layer.ensure(S)).queued[0])
    await enqueue(layer, "c", on_busy=OnBusy.INTERRUPT)
    await stop(layer, turn)
    assert await run_queue(layer) == ["c", "b"]


async def test_cancel_of_an_ended_turn_says_so(layer):
    turn = await answer(layer)
    assert await layer.cancel(S, turn.turn_id) == CancelAck(turn.turn_id, ALREADY_ENDED)


@pytest.mark.parametrize("turn_id", [None, "unheard-of"])
async def test_cancel_of_nothing_is_unknown(layer, turn_id):
    await answer(layer)
    assert await layer.cancel(S, turn_id) == CancelAck(turn_id, UNKNOWN)


@pytest.mark.parametrize("turn_id", [None, "unheard-of"])
async def test_cancel_in_an_unknown_session_is_unknown_and_begins_none(layer, turn_id):
    assert await layer.cancel(S, turn_id) == CancelAck(turn_id, UNKNOWN)
    assert await layer.active("", 10) == ([], "")


async def test_cancel_of_another_sessions_turn_is_unknown(layer):
    turn = await start(layer, session_id="one")
    await start(layer, session_id="two")
    assert await layer.cancel("two", turn.turn_id) == CancelAck(turn.turn_id, UNKNOWN)
    await layer.renew(turn)


async def test_cancel_asked_again_says_the_same_and_then_already_ended(layer):
    turn = await start(layer)
    for _ in range(3):
        assert await layer.cancel(S) == CancelAck(turn.turn_id, CANCELLING)
    await stop(layer, turn)
    assert await layer.cancel(S, turn.turn_id) == CancelAck(turn.turn_id, ALREADY_ENDED)
    assert await log(layer) == ["user:hi", "final:cancelled"]


async def test_cancel_of_a_queued_turn_asked_again_goes_through_its_life(layer):
    head = await enqueue(layer)
    await enqueue(layer)
    for _ in range(2):
        assert await layer.cancel(S) == CancelAck(head.turn_id, QUEUED)
    turn = await claim(layer)
    assert await layer.cancel(S, head.turn_id) == CancelAck(head.turn_id, CANCELLING)
    await stop(layer, turn)
    assert await layer.cancel(S, head.turn_id) == CancelAck(head.turn_id, ALREADY_ENDED)
    assert len((await layer.ensure(S)).queued) == 1


async def test_cancel_writes_no_frame_of_its_own(layer):
    await start(layer)
    await layer.cancel(S)
    assert await log(layer) == ["user:hi"]


# The whole queue.


async def test_clear_queue_cancels_every_queued_turn_and_not_the_one_in_flight(layer):
    turn = await start(layer, "a")
    for content in "bcd":
        await enqueue(layer, content)
    assert await layer.clear_queue(S) == 3
    await layer.renew(turn)
    await stop(layer, turn)
    assert await run_queue(layer) == ["b", "c", "d"]
    assert (await log(layer))[2:] == [
        "user:b",
        "final:cancelled",
        "user:c",
        "final:cancelled",
        "user:d",
        "final:cancelled",
    ]


async def test_clear_queue_counts_each_turn_once(layer):
    await enqueue(layer)
    head = await enqueue(layer)
    await layer.cancel(S, head.turn_id)
    assert [await layer.clear_queue(S) for _ in range(2)] == [1, 0]
    assert len((await layer.ensure(S)).queued) == 2


async def test_clear_queue_of_an_unknown_session_clears_nothing(layer):
    assert await layer.clear_queue(S) == 0
    assert await layer.active("", 10) == ([], "")


# Waiting for it.


async def waits(layer, turn):
    """Start to wait for a cancel, and see that none has come yet."""
    waiting = asyncio.create_task(layer.wait_cancelled(turn))
    for _ in range(3):
        await layer.renew(turn)
        await asyncio.wait([waiting], timeout=0)
    assert not waiting.done()
    return waiting


async def ends(waiting):
    async with asyncio.timeout(LIMIT_SECONDS):
        await waiting


async def test_wait_cancelled_returns_when_another_process_cancels(layer, peer):
    waiting = await waits(layer, await start(layer))
    await peer.cancel(S)
    await ends(waiting)


async def test_wait_cancelled_returns_when_an_interrupt_comes(layer, peer):
    waiting = await waits(layer, await start(layer))
    await enqueue(peer, on_busy=OnBusy.INTERRUPT)
    await ends(waiting)


async def test_wait_cancelled_of_a_cancelled_turn_returns_at_once(layer):
    turn = await start(layer)
    await layer.cancel(S)
    await ends(layer.wait_cancelled(turn))


async def test_wait_cancelled_returns_when_the_session_is_deleted(layer, peer):
    waiting = await waits(layer, await start(layer))
    await peer.delete(S)
    await ends(waiting)


async def test_wait_cancelled_of_a_session_that_is_gone_returns_at_once(layer):
    turn = await start(layer)
    await layer.delete(S)
    await ends(layer.wait_cancelled(turn))


async def test_wait_cancelled_of_a_taken_over_turn_returns_at_once(store, layer, peer):
    turn = await start(layer)
    await store.advance(100)
    await claim(peer)
    await ends(layer.wait_cancelled(turn))


async def test_wait_cancelled_does_not_end_for_another_turns_cancel(layer):
    turn = await start(layer)
    waiting = await waits(layer, turn)
    queued = await enqueue(layer)
    await layer.cancel(S, queued.turn_id)
    await start(layer, session_id="other")
    await layer.cancel("other")
    await say(layer, turn, "a")
    assert not waiting.done()
    await layer.cancel(S)
    await ends(waiting)


async def test_a_wait_that_is_given_up_leaves_the_next_one_whole(layer):
    turn = await start(layer)
    given_up, waiting = await waits(layer, turn), await waits(layer, turn)
    given_up.cancel()
    await asyncio.wait([given_up])
    await layer.cancel(S)
    await ends(waiting)
