"""The AI SDK's requests and chunks."""

import json

import pytest
from hypothesis import given

from relay.adapters.ai_sdk import AiSdkTranslator, read_request
from relay.adapters.base import Limits
from relay.exceptions import ClientMessageTooLarge, ParameterInvalid, UpstreamEof
from relay.protocol import frames
from tests.unit.adapters.turns import CALL, RESULT, TURN_ID, placed, snapshot, translated, turn, turns

LIMITS = Limits(frozenset(), 1_000)
START = [{"type": "start", "messageId": "T"}, {"type": "start-step"}]
END = [{"type": "finish-step"}, {"type": "finish", "finishReason": "stop"}]


def chunks(*parts, end="stop", **options):
    return translated(AiSdkTranslator(TURN_ID, **options), turn(*parts, end=end))


def user(*parts, **fields):
    return {"id": "m-1", "role": "user", "parts": [*parts], **fields}


def text(words):
    return {"type": "text", "text": words}


# The request.


def test_words_are_the_last_users_text_parts_and_its_id_is_the_messages():
    body = {"id": "AbC", "messages": [user(text("old")), user(text("Hel"), text("lo"))], "trigger": "submit-message"}
    found = read_request(body, LIMITS)
    assert found.session_id == "AbC"
    assert found.message.client_message_id == "m-1"
    assert found.message.message == {"type": "user_message", "content": "Hello", "trigger": "submit-message"}


def test_other_parts_and_members_go_to_the_agent_beside_the_words():
    file = {"type": "file", "url": "data:,x"}
    found = read_request({"id": "a", "message": user(text("See"), file), "model": "m", "content": "mine"}, LIMITS)
    assert found.message.message == {"type": "user_message", "content": "See", "parts": [file], "model": "m"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "object"),
        ({}, "id is missing"),
        ({"id": 7, "messages": []}, "id is missing"),
        ({"id": "a"}, "messages"),
        ({"id": "a", "messages": []}, "messages"),
        ({"id": "a", "messages": ["x"]}, "messages"),
        ({"id": "a", "message": {"role": "system", "parts": []}}, "user's"),
        ({"id": "a", "message": user()}, "empty"),
        ({"id": "a", "message": user(text(""))}, "empty"),
        ({"id": "a", "message": user(text("x")), "trigger": "regenerate-message"}, "regenerate-message"),
        ({"id": "a", "message": {"role": "assistant", "parts": []}}, "ui_message"),
        ({"id": "x" * 129, "message": user(text("x"))}, "id must be"),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_words(body, words):
    with pytest.raises(ParameterInvalid, match=words):
        read_request(body, LIMITS)


def test_only_the_last_words_count_against_the_limit():
    long = [user(text("x" * 5_000)), user(text("short"))]
    assert read_request({"id": "a", "messages": long}, LIMITS).message.message["content"] == "short"
    with pytest.raises(ClientMessageTooLarge):
        read_request({"id": "a", "messages": long[:1]}, LIMITS)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"message": user(text("x")), "trigger": "regenerate-message", "messageId": "m9"}, "regenerate-message"),
        ({"message": {"role": "assistant", "parts": [{"type": "tool-x"}]}}, "ui_message"),
    ],
)
def test_what_is_no_users_message_is_forwarded_where_the_gateway_forwards_it(body, kind):
    found = read_request({"id": "a", **body}, Limits(frozenset([kind]), 1_000)).message
    assert found.message == {**body, "type": kind}
    assert found.client_message_id is None


# Approvals.

ANSWERING = Limits(frozenset(["hitl_decision", "ui_message"]), 1_000)
APPROVED = {"call_id": "int-1", "decision": "approve"}
QUESTION = {**CALL, "call_id": "int-1", "tool_name": "tool_call", "requires_approval": True, "tool_call": CALL}


def decided(call_id="call-1", approval_id="int-1", *, approved=True, **fields):
    approval = {"id": approval_id, "approved": approved, **fields}
    part = {"type": "dynamic-tool", "toolName": "pay", "toolCallId": call_id, "input": {}}
    return {**part, "state": "approval-responded", "approval": approval}


def assistant(*parts):
    return {"id": "chat", "messages": [{"id": "t1", "role": "assistant", "parts": [{"type": "step-start"}, *parts]}]}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([decided()], APPROVED),
        ([decided(approved=False, reason="no")], {"call_id": "int-1", "decision": "reject", "reason": "no"}),
        ([decided(approved="yes")], {"call_id": "int-1", "decision": "reject"}),
        (
            [decided(), decided("call-2", "int-2", approved=False)],
            {"decisions": [APPROVED, {"call_id": "int-2", "decision": "reject"}]},
        ),
        ([decided("old", "old"), {"type": "step-start"}, decided()], APPROVED),
        ([decided(), {"state": "output-available"}, 5, decided(approval_id=7)], APPROVED),
    ],
)
def test_approvals_of_the_last_step_are_one_decision(parts, message):
    found = read_request(assistant(*parts), ANSWERING).message
    calls = found.message.pop("ui_message")
    assert found.message == {"type": "hitl_decision", **message}
    assert calls["id"] == "t1"
    assert calls["calls"][0] == "call-1"


def test_same_approval_again_is_the_same_message_and_another_one_is_another():
    one, again, other = (
        read_request(assistant(decided(approved=approved)), ANSWERING).message for approved in (True, True, False)
    )
    assert one.client_message_id == again.client_message_id != other.client_message_id


def test_approval_is_forwarded_as_it_is_where_decisions_are_not_let_through():
    limits = Limits(frozenset(["ui_message"]), 1_000)
    assert read_request(assistant(decided()), limits).message.message["type"] == "ui_message"
    with pytest.raises(ParameterInvalid, match="ui_message"):
        read_request(assistant(decided()), LIMITS)


def test_question_about_a_call_asks_for_the_approval_of_that_call():
    *_, asked, _, end = chunks(CALL, QUESTION, end="interrupt", has_approvals=True)
    assert asked == {"type": "tool-approval-request", "approvalId": "int-1", "toolCallId": "c1"}
    assert end == {"type": "finish", "finishReason": "tool-calls"}
    assert [chunk["type"] for chunk in chunks(CALL, QUESTION)][2:4] == ["tool-input-available"] * 2


def test_turn_that_answers_goes_on_with_the_message_and_brings_the_calls_result():
    body = {"type": "hitl_decision", "call_id": "i", "ui_message": {"id": "t1", "calls": ["c1"]}}
    made = [frames.user_message("T", json.dumps(body)), frames.pending_resolved("T", "i")]
    made += [frames.event("T", CALL), frames.event("T", RESULT)]
    start, _, resolved, output = translated(AiSdkTranslator(TURN_ID, continues=True), placed(made))
    assert start == {"type": "start", "messageId": "t1"}
    assert resolved == {"type": "data-pending_resolved", "data": {"call_id": "i"}}
    assert (output["type"], output["toolCallId"]) == ("tool-output-available", "c1")


def test_turn_that_answers_is_a_message_of_its_own_for_a_client_that_resumes():
    """Which has lost the message in which the agent has asked, and throws away a turn with the result of its call."""
    body = {"type": "hitl_decision", "call_id": "i", "ui_message": {"id": "t1", "calls": ["c1"]}}
    made = [frames.user_message("T", json.dumps(body)), frames.event("T", RESULT)]
    start, _, output = translated(AiSdkTranslator(TURN_ID), placed(made))
    assert (start["messageId"], output["type"]) == (TURN_ID, "data-tool_result")


# The chunks.


def test_an_answer_is_one_block_of_text():
    assert chunks("He", "", "llo") == [
        *START,
        {"type": "text-start", "id": "T:0"},
        {"type": "text-delta", "id": "T:0", "delta": "He"},
        {"type": "text-delta", "id": "T:0", "delta": "llo"},
        {"type": "text-end", "id": "T:0"},
        *END,
    ]


def test_a_tool_call_and_its_result_stand_between_blocks():
    assert chunks("a", CALL, RESULT, "b")[4:8] == [
        {"type": "text-end", "id": "T:0"},
        {
            "type": "tool-input-available",
            "toolCallId": "c1",
            "toolName": "search",
            "input": {"q": "é"},
            "dynamic": True,
        },
        {"type": "tool-output-available", "toolCallId": "c1", "output": {"hits": 2}, "dynamic": True},
        {"type": "text-start", "id": "T:1"},
    ]


def test_a_tools_failure_is_its_output():
    failed = {"type": "tool_result", "tool_call_id": "c1", "error": "down"}
    assert chunks(CALL, failed)[3] == {
        "type": "tool-output-error",
        "toolCallId": "c1",
        "errorText": "down",
        "dynamic": True,
    }


def test_a_result_without_its_call_is_data_for_the_client_would_throw_the_turn_away():
    assert chunks(RESULT)[2] == {"type": "data-tool_result", "data": {"call_id": "c1", "result": {"hits": 2}}}


def test_approval_is_asked_only_of_clients_that_know_it():
    asking = {**CALL, "requires_approval": True}
    asked = {"type": "tool-approval-request", "approvalId": "c1", "toolCallId": "c1"}
    assert asked in chunks(asking, has_approvals=True)
    assert asked not in chunks(asking)


def test_reasoning_is_a_block_of_its_own():
    assert [chunk["type"] for chunk in chunks({"type": "reasoning", "token": "hm"}, "a")[2:-2]] == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-end",
    ]


def test_an_event_that_is_called_like_a_chunk_does_not_pass_for_it():
    assert chunks({"type": "finish", "finishReason": "stop"})[2] == {
        "type": "data-finish",
        "data": {"finishReason": "stop"},
    }


def test_a_notice_is_transient():
    made = turn()
    made.append(frames.notice(TURN_ID, "c", "words"))
    assert translated(AiSdkTranslator(TURN_ID), placed(made))[2:] == [
        {"type": "data-notice", "data": {"code": "c", "content": "words"}, "transient": True}
    ]


@pytest.mark.parametrize(
    ("reason", "written"),
    [("length", "length"), ("content_filter", "content-filter"), ("tool_calls", "tool-calls"), ("odd", "other")],
)
def test_finish_reasons_are_those_that_the_client_knows(reason, written):
    assert chunks(end=reason)[-1] == {"type": "finish", "finishReason": written}


def test_a_cancelled_answer_is_an_abort_and_an_error_has_its_words():
    assert chunks("a", end="cancelled")[-1] == {"type": "abort", "reason": "cancelled"}
    assert chunks("a", end=UpstreamEof())[-1] == {"type": "error", "errorText": str(UpstreamEof())}


def test_a_snapshot_is_the_whole_text_in_one_piece():
    translator = AiSdkTranslator(TURN_ID)
    found = [json.loads(chunk) for chunk in translator.snapshot(snapshot("all", "stop"))]
    assert found[:4] == [
        *START,
        {"type": "text-start", "id": "T:0"},
        {"type": "text-delta", "id": "T:0", "delta": "all"},
    ]
    assert found[-1]["type"] == "finish"
    assert translator.is_over


@given(turns)
def test_every_block_is_opened_once_and_closed_before_another_and_the_end_is_the_last(made):
    translator = AiSdkTranslator(TURN_ID)
    found = translated(translator, made)
    opened, seen = None, set()
    for chunk in found:
        kind, block = chunk["type"], chunk.get("id")
        if kind in ("text-start", "reasoning-start"):
            assert opened is None
            assert block not in seen
            opened = block
            seen.add(block)
        elif kind in ("text-delta", "reasoning-delta"):
            assert block == opened
        elif kind in ("text-end", "reasoning-end"):
            assert block == opened
            opened = None
        else:
            assert opened is None
    assert [chunk["type"] in ("finish", "abort", "error") for chunk in found] == [False] * (len(found) - 1) + [True]
    assert translator.is_over
    deltas = [chunk["delta"] for chunk in found if chunk["type"] == "text-delta"]
    assert "".join(deltas) == "".join(json.loads(f'"{frame.token_text}"') for frame in made)
