"""The agent's position: kept with the frames that it is behind, and given to the worker that takes the turn over."""

from __future__ import annotations

import pytest

from relay.exceptions import LeaseLost, TurnCancelled
from relay.layers.values import MAX_CURSOR_CHARACTERS, MAX_RUN_CHARACTERS, AgentPosition, new_id
from relay.testing.contract.questions import question
from relay.testing.turns import LEASE_SECONDS, S, answer, claim, enqueue, log, same_frames, say, start, stop, tokens


async def claimed_by_another(store, layer):
    """The running turn, in the hands of another worker."""
    await store.advance(LEASE_SECONDS)
    return await claim(layer)


@pytest.mark.parametrize(
    "position",
    [
        AgentPosition("run"),
        AgentPosition("run é", "cursor ✓", 3),
        AgentPosition("r" * MAX_RUN_CHARACTERS, "c" * MAX_CURSOR_CHARACTERS),
    ],
    ids=["start", "unicode", "longest"],
)
async def test_claim_gives_the_position_of_an_abandoned_turn(store, layer, peer, position):
    turn = await start(layer)
    assert turn.position is None
    await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "before"))
    await layer.append(turn, tokens(turn, "b"), position)
    assert (await claimed_by_another(store, peer)).position == position


async def test_position_without_frames_is_kept(store, layer):
    turn = await start(layer)
    assert await layer.append(turn, [], AgentPosition("run")) == 1
    assert (await claimed_by_another(store, layer)).position == AgentPosition("run")
    assert await log(layer) == ["user:hi"]


@pytest.mark.parametrize("is_started", [False, True])
async def test_append_without_a_position_ends_what_was_kept(store, layer, is_started):
    turn = await start(layer)
    await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "1"))
    if is_started:
        assert layer.append_nowait(turn, tokens(turn, "b"), lambda: None)
        await layer.wait_appended(turn)
    else:
        await say(layer, turn, "b")
    assert (await claimed_by_another(store, layer)).position is None


async def test_append_that_was_started_keeps_its_position(store, layer):
    turn = await start(layer)
    assert layer.append_nowait(turn, tokens(turn, "a"), lambda: None, AgentPosition("run", "1"))
    await layer.wait_appended(turn)
    assert (await claimed_by_another(store, layer)).position == AgentPosition("run", "1")


@pytest.mark.parametrize("position", [None, AgentPosition("run", "2")])
async def test_position_is_kept_with_a_question_too(store, layer, position):
    turn = await start(layer)
    await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "1"))
    await layer.append(turn, [question(turn)], position)
    assert [asked.call_id for asked in (await layer.ensure(S)).questions] == ["c1"]
    assert (await claimed_by_another(store, layer)).position == position


async def test_repeated_append_keeps_the_position_that_was_stored(store, layer):
    """A repeated call brings the same frames; if it did not, frames and position would still belong together."""
    turn = await start(layer)
    first, number = tokens(turn, "a"), turn.append_number
    repeat = same_frames(first)
    await layer.append(turn, first, AgentPosition("run", "1"))
    turn.append_number = number
    await layer.append(turn, repeat, AgentPosition("run", "other"))
    assert (await claimed_by_another(store, layer)).position == AgentPosition("run", "1")


async def test_repeated_claim_gives_the_same_position(store, layer):
    turn = await start(layer)
    await layer.append(turn, [], AgentPosition("run", "1"))
    await store.advance(LEASE_SECONDS)
    claim_id = new_id()
    given = [(await claim(layer, claim_id=claim_id)).position for _ in range(2)]
    assert given == [AgentPosition("run", "1")] * 2


async def test_position_holds_for_the_next_takeover_until_something_is_appended(store, layer):
    turn = await start(layer)
    await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "1"))
    await claimed_by_another(store, layer)
    second = await claimed_by_another(store, layer)
    assert second.position == AgentPosition("run", "1")
    await layer.append(second, tokens(turn, "b"), AgentPosition("run", "2"))
    assert (await claimed_by_another(store, layer)).position == AgentPosition("run", "2")


async def test_refused_append_changes_no_position(store, layer):
    turn = await start(layer)
    await layer.append(turn, [], AgentPosition("run", "1"))
    second = await claimed_by_another(store, layer)
    with pytest.raises(LeaseLost):
        await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "2"))
    await layer.cancel(S)
    with pytest.raises(TurnCancelled):
        await layer.append(second, tokens(turn, "a"), AgentPosition("run", "3"))
    assert (await claimed_by_another(store, layer)).position == AgentPosition("run", "1")


async def test_next_turn_has_no_position_of_the_one_before(store, layer):
    """Though it has as many appends."""
    first = await start(layer)
    await layer.append(first, tokens(first, "a"), AgentPosition("run", "1"))
    await stop(layer, first)
    second = await start(layer)
    await say(layer, second, "a")
    assert (await claimed_by_another(store, layer)).position is None


async def test_turn_that_is_not_abandoned_has_no_position(layer):
    await answer(layer, "hi", "a")
    await enqueue(layer)
    assert (await claim(layer)).position is None


@pytest.mark.parametrize(
    ("run", "cursor"),
    [
        ("r" * (MAX_RUN_CHARACTERS + 1), ""),
        ("", "c" * (MAX_CURSOR_CHARACTERS + 1)),
        ("a\nb", ""),
        ("", "a\nb"),
        ("\ud800", ""),
    ],
)
def test_unfit_names_are_refused(run, cursor):
    with pytest.raises(ValueError, match="id for a run or an event"):
        AgentPosition(run, cursor)


async def test_released_turn_is_claimed_at_once(layer, peer):
    turn = await start(layer)
    await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "1"))
    assert await claim(peer) is None
    await layer.release(turn)
    assert await layer.pending(5) == [S]
    taken = await claim(peer)
    assert (taken.turn_id, taken.is_abandoned, taken.position) == (turn.turn_id, True, AgentPosition("run", "1"))
    with pytest.raises(LeaseLost):
        await layer.append(turn, tokens(turn, "b"))
    with pytest.raises(LeaseLost):
        await layer.release(turn)
    assert await log(layer) == ["user:hi", "token:a"]


async def test_released_turn_that_no_worker_claims_is_still_its_owners(layer):
    turn = await start(layer)
    await layer.release(turn)
    await layer.release(turn)
    await say(layer, turn, "a")
    assert await claim(layer) is None
    assert await layer.pending(5) == []


async def test_released_session_comes_first_among_the_pending(layer):
    turns = [await start(layer, session_id=name) for name in ("a", "b")]
    await layer.release(turns[1])
    assert await layer.pending(5) == ["b"]
