"""``pending``: sessions with work and no live lease; any worker may claim them."""

import pytest

from relay.testing.turns import LEASE_SECONDS, answer, claim, enqueue, interrupted, say, start, stop


async def pending(layer, limit=100):
    return sorted(await layer.pending(limit))


async def test_sessions_without_work_are_not_pending(layer):
    await answer(layer, session_id="answered")
    await layer.attach("watched", "viewer")
    await layer.ensure("begun")
    assert await pending(layer) == []


async def test_a_queued_turn_is_pending_until_it_is_claimed(layer, peer):
    await enqueue(layer, session_id="one")
    assert await pending(peer) == ["one"]
    turn = await claim(layer, "one")
    assert await pending(peer) == []
    await stop(layer, turn)
    assert await pending(peer) == []


async def test_a_queue_behind_a_live_lease_is_not_pending(layer):
    turn = await start(layer, session_id="one")
    await enqueue(layer, session_id="one")
    assert await pending(layer) == []
    await stop(layer, turn)
    assert await pending(layer) == ["one"]


async def test_a_cancelled_queued_turn_is_pending_because_it_must_be_ended(layer):
    await enqueue(layer, session_id="one")
    await layer.cancel("one")
    assert await pending(layer) == ["one"]


async def test_a_turn_is_pending_when_its_lease_runs_out_and_not_before(store, layer):
    await start(layer, session_id="one")
    await store.advance(LEASE_SECONDS - 0.25)
    assert await pending(layer) == []
    await store.advance(0.25)
    assert await pending(layer) == ["one"]


async def test_an_abandoned_turn_is_pending_until_it_is_claimed(store, layer):
    await start(layer, session_id="one")
    await enqueue(layer, session_id="one")
    await store.advance(LEASE_SECONDS)
    turn = await claim(layer, "one")
    assert await pending(layer) == []
    await interrupted(layer, turn)
    assert await pending(layer) == ["one"]


async def test_a_late_owner_that_writes_is_pending_no_more(store, layer):
    turn = await start(layer, session_id="one")
    await store.advance(LEASE_SECONDS)
    assert await pending(layer) == ["one"]
    await say(layer, turn, "a")
    assert await pending(layer) == []


async def test_each_lease_runs_out_by_itself(store, layer):
    turns = {}
    for name in "abc":
        turns[name] = await start(layer, session_id=name)
        await store.advance(1)
    await layer.renew(turns["a"])
    await store.advance(LEASE_SECONDS - 2)
    assert await pending(layer) == ["b"]
    await store.advance(1)
    assert await pending(layer) == ["b", "c"]
    await store.advance(1)
    assert await pending(layer) == ["a", "b", "c"]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5])
async def test_pending_names_at_most_limit_sessions(store, layer, limit):
    for name in ("abandoned 1", "abandoned 2"):
        await start(layer, session_id=name)
    await store.advance(LEASE_SECONDS)
    for name in ("queued 1", "queued 2"):
        await enqueue(layer, session_id=name)
    named = await layer.pending(limit)
    assert len(named) == len(set(named)) == min(limit, 4)


async def test_a_deleted_session_is_not_pending(store, layer):
    await enqueue(layer, session_id="queued")
    await start(layer, session_id="abandoned")
    await store.advance(LEASE_SECONDS)
    await layer.delete("queued")
    await layer.delete("abandoned")
    assert await pending(layer) == []


async def test_everything_pending_can_be_claimed_and_ended(store, layer):
    for i in range(5):
        await start(layer, session_id=f"abandoned {i}")
        await enqueue(layer, session_id=f"abandoned {i}")
        await enqueue(layer, session_id=f"queued {i}")
    await store.advance(LEASE_SECONDS)
    ended = 0
    while names := await layer.pending(3):
        for name in names:
            await stop(layer, await claim(layer, name))
            ended += 1
    assert ended == 15
