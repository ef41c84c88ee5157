"""An agent's questions to a person: state of the session until the first answer, or until it expires."""

import asyncio

import pytest

from relay.exceptions import AlreadyDecided, NotOwner, SessionBusy, UpstreamEof, UpstreamUnavailable
from relay.layers.bounds import Bounds
from relay.layers.values import NewTurn, new_id
from relay.protocol import frames, json_text
from relay.protocol.client_messages import OnBusy
from relay.testing.turns import (
    LEASE_SECONDS,
    S,
    answer,
    append_twice,
    claim,
    enqueue,
    log,
    run_queue,
    say,
    start,
    stop,
    tailing,
)

CALL = {"type": "tool_call", "call_id": "c1", "tool_name": "pay", "arguments": {"euros": 5}, "requires_approval": True}


def question(turn, call_id="c1", **fields):
    return frames.event(turn.turn_id, {**CALL, "call_id": call_id, **fields})


def decision(*call_ids, **options):
    """A message that answers questions."""
    options.setdefault("turn_id", new_id())
    body = {"type": "hitl_decision", "content": "", "decisions": [{"call_id": call_id} for call_id in call_ids]}
    return NewTurn(body=json_text.encode(body), answers=call_ids, **options)


async def ask(layer, *call_ids):
    """A turn that asks, and ends. Returns it."""
    turn = await start(layer)
    await layer.append(turn, [question(turn, call_id) for call_id in call_ids or ("c1",)])
    await stop(layer, turn)
    return turn


async def waiting(layer):
    """The names of the questions that wait."""
    state = await layer.get(S)
    return [] if state is None else [asked.call_id for asked in state.questions]


async def test_question_of_an_agent_waits_beyond_its_turn(layer, peer):
    turn = await ask(layer)
    (asked,) = (await peer.ensure(S)).questions
    assert (asked.call_id, asked.turn_id, json_text.decode(asked.body)) == ("c1", turn.turn_id, CALL)
    assert asked.seconds_left == Bounds().question_seconds


async def test_questions_are_kept_in_the_order_in_which_they_were_asked(layer):
    await ask(layer, "c1", "c2")
    await ask(layer, "c3")
    assert await waiting(layer) == ["c1", "c2", "c3"]


async def test_question_is_there_with_the_frame_that_asks(layer):
    turn = await start(layer)
    await layer.append(turn, [question(turn)])
    assert await waiting(layer) == ["c1"]


async def test_question_that_is_appended_without_waiting_is_kept(layer):
    turn = await start(layer)
    assert layer.append_nowait(turn, [question(turn)], lambda: None)
    await layer.wait_appended(turn)
    assert await waiting(layer) == ["c1"]


async def test_append_repeated_after_a_lost_reply_asks_once(layer):
    turn = await start(layer)
    await append_twice(layer, turn, [question(turn)])
    assert await waiting(layer) == ["c1"]
    assert await log(layer) == ["user:hi", "event:tool_call"]


async def test_late_repetition_of_an_append_does_not_ask_again(layer):
    turn = await start(layer)
    await layer.append(turn, [question(turn)])
    await layer.enqueue(S, decision("c1"))
    turn.append_number -= 1
    await layer.append(turn, [question(turn)])
    assert await waiting(layer) == []


@pytest.mark.parametrize(
    "event",
    [
        {**CALL, "requires_approval": False},
        {**CALL, "call_id": None},
        {**CALL, "call_id": ""},
        {**CALL, "call_id": "\ud83d"},
        {**CALL, "call_id": "x" * 1_001},
        {**CALL, "type": "tool_result"},
        {"type": "other", "call_id": "c1", "requires_approval": True},
    ],
)
async def test_event_that_asks_nothing_or_has_no_name_is_no_question(layer, event):
    turn = await start(layer)
    await layer.append(turn, [frames.event(turn.turn_id, event)])
    assert await waiting(layer) == []


async def test_other_spelling_of_the_call_id_names_a_question_as_well(layer):
    turn = await start(layer)
    await layer.append(turn, [question(turn, None, tool_call_id="c9")])
    assert await waiting(layer) == ["c9"]


async def test_answer_settles_the_question_and_is_told_what_was_asked(layer, peer):
    await ask(layer)
    await peer.enqueue(S, decision("c1"))
    assert await waiting(layer) == []
    turn = await claim(layer)
    assert turn.questions == [CALL]


async def test_log_says_which_question_a_turn_answers(layer, peer):
    asking = await ask(layer)
    async with tailing(peer, frames_after(await peer.ensure(S))) as tail:
        await layer.enqueue(S, decision("c1"))
        turn = await claim(layer)
        await say(layer, turn, "x")
        await tail.has(3)
        _, resolved, _ = tail.frames
    assert resolved.v1 == (
        f'{{"type":"pending_resolved","call_id":"c1","turn_id":"{turn.turn_id}","offset":{resolved.offset}}}'
    )
    assert resolved.plain is None
    assert asking.turn_id != turn.turn_id


def frames_after(state):
    return state.resume().after


async def test_second_answer_is_refused(layer, peer):
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    with pytest.raises(AlreadyDecided):
        await peer.enqueue(S, decision("c1"))
    assert await run_queue(layer) == [""]
    with pytest.raises(AlreadyDecided):
        await peer.enqueue(S, decision("c1"))


async def test_of_two_answers_at_once_one_is_taken(layer, peer):
    await ask(layer)
    replies = await asyncio.gather(
        *(each.enqueue(S, decision("c1")) for each in (layer, peer) * 8), return_exceptions=True
    )
    assert len([reply for reply in replies if isinstance(reply, AlreadyDecided)]) == len(replies) - 1
    assert len(await run_queue(layer)) == 1


async def test_answer_repeated_after_a_lost_reply_has_no_second_effect(layer, peer):
    await ask(layer)
    message = decision("c1", client_message_id="m1")
    first = await layer.enqueue(S, message)
    assert await peer.enqueue(S, message) == first
    again = await peer.enqueue(S, decision("c1", client_message_id="m1"))
    assert (again.turn_id, again.duplicate) == (first.turn_id, True)
    assert len(await run_queue(layer)) == 1


async def test_claim_repeated_after_a_lost_reply_gives_the_same_questions(layer):
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    first = await claim(layer, claim_id="x")
    again = await claim(layer, claim_id="x")
    assert (first.questions, again.questions) == ([CALL], [CALL])
    assert (await log(layer))[-2:] == ["user:", "event:pending_resolved"]


async def test_message_with_one_settled_question_settles_none(layer):
    await ask(layer, "c1", "c2")
    await layer.enqueue(S, decision("c1"))
    with pytest.raises(AlreadyDecided):
        await layer.enqueue(S, decision("c1", "c2"))
    assert await waiting(layer) == ["c2"]


async def test_message_may_answer_several_questions(layer):
    await ask(layer, "c1", "c2")
    await layer.enqueue(S, decision("c1", "c2"))
    turn = await claim(layer)
    assert [event["call_id"] for event in turn.questions] == ["c1", "c2"]
    assert (await log(layer))[-3:] == ["user:", "event:pending_resolved", "event:pending_resolved"]


async def test_answer_to_what_was_never_asked_is_a_message_like_any_other(layer):
    await layer.enqueue(S, decision("c1"))
    turn = await claim(layer)
    assert turn.questions == []
    assert await log(layer) == ["user:"]


async def test_refused_message_settles_nothing(layer):
    await ask(layer)
    turn = await start(layer)
    with pytest.raises(SessionBusy):
        await layer.enqueue(S, decision("c1", on_busy=OnBusy.REJECT))
    await stop(layer, turn)
    assert await waiting(layer) == ["c1"]
    await layer.enqueue(S, decision("c1"))


async def test_other_subject_settles_nothing(layer):
    await layer.ensure(S, "ann")
    await ask(layer)
    with pytest.raises(NotOwner):
        await layer.enqueue(S, decision("c1", subject="bob"))
    with pytest.raises(NotOwner):
        await layer.get(S, "bob")
    assert await waiting(layer) == ["c1"]
    assert (await layer.get(S, "ann")).questions


async def test_result_that_the_agent_tells_settles_the_question(layer):
    turn = await start(layer)
    await layer.append(turn, [question(turn)])
    await layer.append(turn, [frames.event(turn.turn_id, {"type": "tool_result", "call_id": "c1", "result": 1})])
    assert await waiting(layer) == []
    with pytest.raises(AlreadyDecided):
        await layer.enqueue(S, decision("c1"))


async def test_result_that_the_agent_tells_settles_a_question_whose_answer_is_void(layer):
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    turn = await claim(layer)
    await layer.finish(turn, frames.error(turn.turn_id, UpstreamUnavailable()))
    turn = await start(layer)
    await layer.append(turn, [frames.event(turn.turn_id, {"type": "tool_result", "call_id": "c1", "result": 1})])
    assert await waiting(layer) == []


async def test_question_that_is_asked_again_is_open_again(layer):
    """An A2A task asks each time under its own id."""
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    turn = await claim(layer)
    await layer.append(turn, [question(turn, arguments={"euros": 6})])
    await stop(layer, turn)
    (asked,) = (await layer.ensure(S)).questions
    assert json_text.decode(asked.body)["arguments"] == {"euros": 6}
    await layer.enqueue(S, decision("c1"))


async def test_question_outlives_the_worker_that_asked(store, layer, peer):
    turn = await start(layer)
    await layer.append(turn, [question(turn)])
    await store.advance(LEASE_SECONDS + 1)
    taken_over = await claim(peer)
    assert taken_over.is_abandoned
    await stop(peer, taken_over)
    assert await waiting(peer) == ["c1"]


# Time.


async def test_expired_question_waits_no_longer_and_takes_no_answer(store):
    layer = await store.layer(Bounds(question_seconds=10, ttl_seconds=100))
    await ask(layer)
    await store.advance(9)
    assert [round(asked.seconds_left) for asked in (await layer.ensure(S)).questions] == [1]
    await store.advance(1)
    assert await waiting(layer) == []
    with pytest.raises(AlreadyDecided):
        await layer.enqueue(S, decision("c1"))


async def test_question_keeps_its_session_until_it_expires(store):
    layer = await store.layer(Bounds(question_seconds=1_000, ttl_seconds=10))
    await ask(layer)
    await store.advance(990)
    assert await waiting(layer) == ["c1"]
    assert (await log(layer))[0] == "user:hi"
    await store.advance(1_001)
    assert await layer.get(S) is None


async def test_answered_question_keeps_no_session(store):
    layer = await store.layer(Bounds(question_seconds=1_000, ttl_seconds=10))
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    await run_queue(layer)
    await store.advance(11)
    assert await layer.get(S) is None


# An answer that the agent never got.


async def test_answer_that_found_no_agent_may_be_given_again(layer, peer):
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    turn = await claim(layer)
    assert await waiting(layer) == []
    await layer.finish(turn, frames.error(turn.turn_id, UpstreamUnavailable()))
    assert await waiting(peer) == ["c1"]
    await peer.enqueue(S, decision("c1"))
    assert (await claim(peer)).questions == [CALL]


async def test_answer_that_was_cancelled_in_the_queue_may_be_given_again(layer):
    await ask(layer)
    busy = await start(layer)
    await layer.enqueue(S, decision("c1"))
    await layer.clear_queue(S)
    await stop(layer, busy)
    turn = await claim(layer)
    assert turn.is_cancelled
    await stop(layer, turn)
    assert (await log(layer))[-2:] == ["user:", "final:cancelled"]
    assert await waiting(layer) == ["c1"]


async def test_answer_that_the_agent_may_have_got_counts(layer):
    await ask(layer)
    await layer.enqueue(S, decision("c1"))
    turn = await claim(layer)
    await layer.finish(turn, frames.error(turn.turn_id, UpstreamEof()))
    assert await waiting(layer) == []
    with pytest.raises(AlreadyDecided):
        await layer.enqueue(S, decision("c1"))


# Bounds.


async def test_oldest_questions_go_beyond_their_number(store):
    layer = await store.layer(Bounds(max_questions=3))
    await ask(layer, "c1", "c2")
    await ask(layer, "c3", "c4")
    assert await waiting(layer) == ["c2", "c3", "c4"]


async def test_oldest_questions_go_beyond_their_bytes(store):
    layer = await store.layer(Bounds(max_question_bytes=1_000))
    turn = await start(layer)
    await layer.append(turn, [question(turn, name, arguments={"text": "x" * 300}) for name in ("c1", "c2", "c3")])
    assert await waiting(layer) == ["c2", "c3"]


async def test_arguments_of_a_large_question_are_left_to_the_log(store):
    layer = await store.layer(Bounds(max_question_bytes=1_000))
    turn = await start(layer)
    await layer.append(turn, [question(turn, arguments={"text": "x" * 2_000})])
    (asked,) = (await layer.ensure(S)).questions
    assert json_text.decode(asked.body) == {**CALL, "arguments": None}


async def test_deleted_session_forgets_its_questions(layer):
    await ask(layer)
    await layer.delete(S)
    await answer(layer)
    assert await waiting(layer) == []
    await layer.enqueue(S, decision("c1"))


async def test_question_has_any_text(layer):
    await ask(layer, "é 1\n:~")
    await enqueue(layer)
    assert await waiting(layer) == ["é 1\n:~"]
    await layer.enqueue(S, decision("é 1\n:~"))
