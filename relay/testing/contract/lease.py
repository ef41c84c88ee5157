"""``claim`` and ``renew``: one worker at a time; a worker that was taken over writes nothing more."""

import asyncio

import pytest

from relay.exceptions import LeaseLost, TurnCancelled
from relay.layers.values import new_id
from relay.protocol import frames
from relay.testing.turns import (
    LEASE_SECONDS,
    S,
    answer,
    append_twice,
    claim,
    enqueue,
    interrupted,
    log,
    run_queue,
    say,
    start,
    stop,
    tokens,
)


@pytest.fixture
async def taken_over(store, layer, peer):
    """A turn whose first owner was silent for too long: the old owner's view and the new one's."""
    old = await start(layer, "a")
    await say(layer, old, "x")
    await store.advance(LEASE_SECONDS)
    new = await claim(peer)
    assert new is not None
    return old, new


# Claiming.


async def test_claim_of_an_unknown_session_gives_nothing_and_begins_none(layer):
    assert await claim(layer) is None
    assert await layer.active("", 10) == ([], "")


async def test_claim_of_an_idle_session_gives_nothing(layer):
    await answer(layer)
    assert await claim(layer) is None


async def test_claim_gives_the_queues_head_and_appends_its_user_message(layer):
    first = await enqueue(layer, "a", subject="somebody")
    second = await enqueue(layer, "b")
    turn = await claim(layer, claim_id="mine")
    assert (turn.session_id, turn.turn_id, turn.lease_id) == (S, first.turn_id, "mine")
    assert (turn.subject, turn.is_abandoned, turn.is_cancelled, turn.append_number) == ("somebody", False, False, 0)
    assert await log(layer) == ["user:a"]
    state = await layer.ensure(S)
    assert (state.active_turn_id, state.active_after, state.queued) == (first.turn_id, 0, (second.turn_id,))


async def test_claim_while_another_worker_holds_the_lease_gives_nothing(layer, peer):
    await start(layer)
    await enqueue(layer)
    assert await claim(peer) is None
    assert await log(layer) == ["user:hi"]


async def test_of_concurrent_claims_one_wins(layer, peer):
    await enqueue(layer)
    claimed = await asyncio.gather(*(claim((layer, peer)[i % 2]) for i in range(8)))
    assert sum(turn is not None for turn in claimed) == 1
    assert await log(layer) == ["user:hi"]


async def test_claim_repeated_after_a_lost_reply_gives_the_same_turn(layer):
    await enqueue(layer)
    await enqueue(layer)
    claim_id = new_id()
    first = await claim(layer, claim_id=claim_id)
    assert await claim(layer, claim_id=claim_id) == first
    assert await log(layer) == ["user:hi"]


async def test_claim_of_an_abandoned_turn_repeated_after_a_lost_reply_gives_it_again(store, layer):
    await start(layer)
    await store.advance(LEASE_SECONDS)
    claim_id = new_id()
    first = await claim(layer, claim_id=claim_id)
    assert first.is_abandoned
    assert await claim(layer, claim_id=claim_id) == first


async def test_claim_after_the_end_gives_the_next_turn(layer):
    turn = await start(layer, "a")
    await enqueue(layer, "b")
    await stop(layer, turn)
    assert (await claim(layer)).message["content"] == "b"


# Late, but not taken over.


@pytest.mark.parametrize("seconds", [LEASE_SECONDS - 0.25, LEASE_SECONDS, 100 * LEASE_SECONDS])
async def test_a_late_owner_continues_while_no_other_has_claimed(store, layer, seconds):
    turn = await start(layer)
    await store.advance(seconds)
    await layer.renew(turn)
    await store.advance(seconds)
    assert await say(layer, turn, "a") == 2
    await store.advance(seconds)
    await stop(layer, turn)
    assert await log(layer) == ["user:hi", "token:a", "final:stop"]


async def test_a_late_owner_has_the_lease_back_after_an_append(store, layer, peer):
    turn = await start(layer)
    await store.advance(2 * LEASE_SECONDS)
    await say(layer, turn, "a")
    assert await claim(peer) is None


async def test_a_late_owner_has_the_lease_back_after_renew(store, layer, peer):
    turn = await start(layer)
    await store.advance(2 * LEASE_SECONDS)
    await layer.renew(turn)
    assert await claim(peer) is None


# How long a lease lasts.


async def claim_lease(layer, turn):
    pass


async def append_lease(layer, turn):
    await say(layer, turn, "a")


async def repeat_lease(layer, turn):
    await append_twice(layer, turn, tokens(turn, "a"))


async def renew_lease(layer, turn):
    await layer.renew(turn)


async def renew_cancelled_lease(layer, turn):
    await layer.cancel(S)
    with pytest.raises(TurnCancelled):
        await layer.renew(turn)


@pytest.mark.parametrize(
    "write", [claim_lease, append_lease, repeat_lease, renew_lease, renew_cancelled_lease], ids=lambda f: f.__name__
)
async def test_a_lease_lasts_lease_seconds_from_the_last_sign_of_life(store, layer, peer, write):
    turn = await start(layer)
    if write is not claim_lease:
        await store.advance(LEASE_SECONDS - 1)
    await write(layer, turn)
    await store.advance(LEASE_SECONDS - 0.25)
    assert await claim(peer) is None
    await store.advance(0.25)
    assert (await claim(peer)).is_abandoned


async def test_a_refused_append_to_a_cancelled_turn_extends_nothing(store, layer, peer):
    """Its owner is about to call ``finish``; if it dies instead, the lease runs out as it would have."""
    turn = await start(layer)
    await layer.cancel(S)
    await store.advance(LEASE_SECONDS)
    with pytest.raises(TurnCancelled):
        await say(layer, turn, "a")
    assert await claim(peer) is not None


# Taken over.


async def test_an_abandoned_turn_is_claimed_as_abandoned_and_ended_once(taken_over, layer, peer):
    _, new = taken_over
    assert new.is_abandoned
    assert await claim(layer) is None
    await interrupted(peer, new)
    assert await claim(layer) is None
    assert await log(layer) == ["user:a", "token:x", "error:interrupted"]


async def test_an_abandoned_turn_goes_before_the_queue(store, layer, peer):
    old = await start(layer, "a")
    await enqueue(layer, "b")
    await store.advance(LEASE_SECONDS)
    new = await claim(peer)
    assert (new.turn_id, new.is_abandoned) == (old.turn_id, True)
    await interrupted(peer, new)
    assert await run_queue(layer) == ["b"]
    assert await log(layer) == ["user:a", "error:interrupted", "user:b", "final:stop"]


async def test_an_abandoned_turn_whose_second_owner_dies_is_claimed_again(taken_over, store, layer):
    _, second = taken_over
    await store.advance(LEASE_SECONDS)
    third = await claim(layer)
    assert third.is_abandoned
    with pytest.raises(LeaseLost):
        await interrupted(layer, second)
    await interrupted(layer, third)
    assert (await log(layer))[-1] == "error:interrupted"


async def test_the_new_owner_may_append_where_the_old_one_stopped(taken_over, layer, peer):
    _, new = taken_over
    await say(peer, new, "y")
    await interrupted(peer, new)
    assert await log(layer) == ["user:a", "token:x", "token:y", "error:interrupted"]


async def test_a_cancelled_abandoned_turn_ends_cancelled(taken_over, layer, peer):
    _, new = taken_over
    await layer.cancel(S)
    terminal = await interrupted(peer, new)
    assert terminal.members == '"finish_reason":"cancelled"'
    assert (await log(layer))[-1] == "final:cancelled"


async def test_a_turn_cancelled_before_it_was_abandoned_is_claimed_as_both(store, layer, peer):
    await start(layer)
    await layer.cancel(S)
    await store.advance(LEASE_SECONDS)
    new = await claim(peer)
    assert (new.is_abandoned, new.is_cancelled) == (True, True)
    await interrupted(peer, new)
    assert await log(layer) == ["user:hi", "final:cancelled"]


WRITES = {
    "append": lambda layer, turn: say(layer, turn, "late"),
    "finish": lambda layer, turn: stop(layer, turn),
    "renew": lambda layer, turn: layer.renew(turn),
    "reset": lambda layer, turn: layer.reset(turn, "late"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_taken_over_owner_is_refused(taken_over, layer, write):
    old, _ = taken_over
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, old)
    assert await log(layer) == ["user:a", "token:x"]


@pytest.mark.parametrize("write", WRITES)
async def test_a_taken_over_owner_is_refused_after_the_new_one_ended_the_turn(taken_over, layer, peer, write):
    old, new = taken_over
    await interrupted(peer, new)
    epoch = (await layer.ensure(S)).epoch
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, old)
    assert await log(layer) == ["user:a", "token:x", "error:interrupted"]
    assert (await layer.ensure(S)).epoch == epoch


@pytest.mark.parametrize("write", WRITES)
async def test_a_taken_over_owner_is_refused_while_the_next_turn_runs(taken_over, layer, peer, write):
    old, new = taken_over
    await interrupted(peer, new)
    await start(peer, "b")
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, old)
    assert (await log(layer))[-1] == "user:b"


@pytest.mark.parametrize("write", WRITES)
async def test_a_lease_that_was_never_given_is_refused(layer, write):
    turn = await start(layer)
    turn.lease_id = new_id()
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, turn)
    assert await log(layer) == ["user:hi"]


@pytest.mark.parametrize("write", ["append", "finish", "renew"])
async def test_writes_to_a_session_that_is_gone_have_lost_their_lease(layer, write):
    turn = await start(layer)
    await layer.delete(S)
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, turn)
    assert await layer.active("", 10) == ([], "")


@pytest.mark.parametrize("write", ["append", "finish", "renew"])
async def test_writes_to_a_session_that_the_store_forgot_have_lost_their_lease(store, layer, write):
    turn = await start(layer)
    await store.forget(S)
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, turn)


@pytest.mark.parametrize("write", ["append", "renew"])
async def test_writes_after_the_end_have_lost_their_lease(layer, write):
    turn = await answer(layer)
    with pytest.raises(LeaseLost):
        await WRITES[write](layer, turn)
    assert await log(layer) == ["user:hi", "final:stop"]


# Renewing.


async def test_renew_of_a_cancelled_turn_says_so_each_time(layer):
    turn = await start(layer)
    await layer.renew(turn)
    await layer.cancel(S)
    for _ in range(2):
        with pytest.raises(TurnCancelled):
            await layer.renew(turn)
    await layer.finish(turn, frames.final(turn.turn_id, "cancelled"))


async def test_renew_writes_nothing(layer):
    turn = await start(layer)
    await layer.renew(turn)
    await layer.renew(turn)
    assert await log(layer) == ["user:hi"]
