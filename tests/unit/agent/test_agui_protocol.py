"""PROTOCOL's "Agents that speak other protocols", the rows of ``agui``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols import agui
from relay.agent.protocols.agui import AgUi
from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors
from tests.unit.agent.vectors import TURN, brief, error


@vectors.every("agui_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(AgUi(), vector)


@vectors.every("agui_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(AgUi(), vector)


ids = st.sampled_from(["1", "2"])
outcomes = any_answer.objects(
    type=st.sampled_from(["success", "interrupt", "cancelled"]), interrupts=st.lists(st.none())
)
said = any_answer.objects(
    type=st.sampled_from([*agui._TAKES, "CUSTOM", "assistant_message", "error"]),
    messageId=ids,
    toolCallId=ids,
    toolCallName=st.just("f"),
    role=st.sampled_from(["assistant", "user"]),
    delta=st.text(),
    outcome=outcomes,
    usage=st.lists(any_answer.objects(inputTokens=st.integers())),
)


@given(any_answer.answers(said))
def test_whatever_the_agent_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(AgUi(), events)


@given(st.lists(said.map(json.dumps)), st.data())
def test_no_cut_changes_the_frames(datas, draw):
    any_answer.check_no_cut_changes_the_frames(AgUi(), datas, draw)


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(AgUi(), redact=lambda words: words.replace("secret", "…"))
    assert brief(reader.frames([Event('{"type":"RUN_ERROR","message":"a secret"}', "", "")])) == [error("a …")]


def test_a_request_is_a_run_of_the_session():
    request = AgUi().request(TURN, (), AgentSettings())
    assert (request.method, request.path) == ("POST", "/")
    assert request.body == {
        "threadId": "S",
        "runId": "T",
        "messages": [{"id": "T", "role": "user", "content": "Hi"}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


def test_a_request_has_system_prompt_and_history_under_ids_of_their_own():
    history = [PastTurn("Capital of France?", "Paris."), PastTurn("And of Spain?", "")]
    request = AgUi().request(TURN, history, AgentSettings(path="/agui", system_prompt="Be brief."))
    assert request.path == "/agui"
    messages = request.body["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("system", "Be brief."),
        ("user", "Capital of France?"),
        ("assistant", "Paris."),
        ("user", "And of Spain?"),
        ("user", "Hi"),
    ]
    assert len({message["id"] for message in messages}) == 5


def test_another_kind_of_message_is_sent_as_its_json_and_whole_as_forwarded_props():
    message = {"type": "feedback", "stars": 5}
    body = AgUi().request(Turn("S", "T", "L", message), (), AgentSettings()).body
    assert body["forwardedProps"] == message
    assert json.loads(body["messages"][-1]["content"]) == message


def test_the_answer_to_an_interrupt_resumes_and_is_no_message():
    entries = [{"interruptId": "i1", "status": "resolved", "payload": {"approved": True}}]
    message = {"type": "resume", "resume": entries}
    body = AgUi().request(Turn("S", "T", "L", message), [PastTurn("a", "b")], AgentSettings()).body
    assert body["resume"] == entries
    assert [entry["content"] for entry in body["messages"]] == ["a", "b"]


QUESTION = {
    "type": "tool_call", "call_id": "i1", "tool_name": "tool_call", "arguments": {}, "requires_approval": True,
    "tool_call": {"call_id": "c1", "tool_name": "pay", "arguments": {"euros": 5}},
}  # fmt: skip


def answered(message, *questions):
    turn = Turn("S", "T", "L", message, questions=list(questions))
    return AgUi().request(turn, [PastTurn("Pay.", "")], AgentSettings()).body


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({"decision": "approve"}, {"approved": True}),
        ({"decision": "edit", "arguments": {"euros": 4}}, {"approved": True, "editedArgs": {"euros": 4}}),
        ({"decision": "reject", "reason": "no"}, {"approved": False, "reason": "no"}),
        ({"decision": "what?"}, {"approved": False}),
    ],
)
def test_a_decision_resumes_the_run_behind_the_call_that_was_asked_about(fields, payload):
    body = answered({"type": "hitl_decision", "call_id": "i1", **fields}, QUESTION)
    assert body["resume"] == [{"interruptId": "i1", "status": "resolved", "payload": payload}]
    user, asked = body["messages"]
    assert (user["role"], user["content"]) == ("user", "Pay.")
    assert asked == {
        "id": "T.asked",
        "role": "assistant",
        "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"euros":5}'}}],
    }


def test_a_value_answers_what_was_asked_and_is_a_message_where_nothing_was():
    message = {"type": "tool_result", "call_id": "i1", "result": {"city": "Paris"}}
    body = answered(message, {**QUESTION, "tool_call": None})
    assert body["resume"] == [{"interruptId": "i1", "status": "resolved", "payload": {"city": "Paris"}}]
    assert len(body["messages"]) == 1
    assert json.loads(answered(message)["messages"][-1]["content"]) == message


def test_arguments_that_are_no_object_are_told_as_the_text_that_they_are():
    call = {"call_id": "c1", "tool_name": "pay", "arguments": "{half"}
    body = answered({"type": "x", "resume": [{"interruptId": "i1"}]}, {**QUESTION, "tool_call": call})
    assert body["messages"][-1]["toolCalls"][0]["function"]["arguments"] == "{half"


def test_an_interrupt_about_a_call_that_has_its_result_names_no_call():
    events = [
        {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "a"},
        {"type": "TOOL_CALL_END", "toolCallId": "c1"},
        {"type": "TOOL_CALL_RESULT", "toolCallId": "c1", "content": "x"},
        {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [{"id": "i", "toolCallId": "c1"}]}},
    ]
    frames = vectors.reader(AgUi()).frames([Event(json.dumps(event), "", "") for event in events])
    assert "tool_call" not in json.loads(frames[-2].body)


def test_the_internal_key_is_not_for_the_agent():
    assert not AgUi.is_own
    assert not AgUi.keeps_history
