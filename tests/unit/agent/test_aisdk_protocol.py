"""PROTOCOL's "Agents that speak other protocols", the rows of ``aisdk``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols import aisdk
from relay.agent.protocols.aisdk import AiSdk
from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors
from tests.unit.agent.vectors import TURN, brief, error


@vectors.every("aisdk_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(AiSdk(), vector)


@vectors.every("aisdk_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(AiSdk(), vector)


ids = st.sampled_from(["1", "2"])
said = any_answer.objects(
    type=st.sampled_from([*aisdk._TAKES, "data-x", "assistant_message", "error"]),
    toolCallId=ids,
    toolName=st.just("f"),
    approvalId=ids,
    delta=st.text(),
    input=st.text(),
    errorText=st.text(),
    finishReason=st.sampled_from(["stop", "error", "interrupted", "tool-calls"]),
)


@given(any_answer.answers(said))
def test_whatever_the_agent_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(AiSdk(), events)


@given(st.lists(said.map(json.dumps)), st.data())
def test_no_cut_changes_the_frames(datas, draw):
    any_answer.check_no_cut_changes_the_frames(AiSdk(), datas, draw)


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(AiSdk(), redact=lambda words: words.replace("secret", "…"))
    assert brief(reader.frames([Event('{"type":"error","errorText":"a secret"}', "", "")])) == [error("a …")]


def said_by(role, text):
    return {"role": role, "parts": [{"type": "text", "text": text}]}


def test_a_request_submits_the_message_to_the_chat_of_the_session():
    request = AiSdk().request(TURN, (), AgentSettings())
    assert (request.method, request.path) == ("POST", "/api/chat")
    assert request.body == {
        "id": "S",
        "trigger": "submit-message",
        "messages": [{"id": "T", **said_by("user", "Hi")}],
    }


def test_a_request_has_system_prompt_and_history_under_ids_of_their_own():
    history = [PastTurn("Capital of France?", "Paris."), PastTurn("And of Spain?", "")]
    request = AiSdk().request(TURN, history, AgentSettings(path="/chat", system_prompt="Be brief."))
    assert request.path == "/chat"
    messages = request.body["messages"]
    assert len({message.pop("id") for message in messages}) == 5
    assert messages == [
        said_by("system", "Be brief."),
        said_by("user", "Capital of France?"),
        said_by("assistant", "Paris."),
        said_by("user", "And of Spain?"),
        said_by("user", "Hi"),
    ]


QUESTION = {"type": "tool_call", "call_id": "c1", "tool_name": "pay", "arguments": {"euros": 5}, "approval_id": "a1"}


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"decision": "approve"}, {"state": "approval-responded", "approval": {"id": "a1", "approved": True}}),
        (
            {"decision": "reject", "reason": "no"},
            {"state": "approval-responded", "approval": {"id": "a1", "approved": False, "reason": "no"}},
        ),
        (
            {"decision": "edit", "arguments": {"euros": 4}},
            {"state": "approval-responded", "approval": {"id": "a1", "approved": True}, "input": {"euros": 4}},
        ),
        ({"result": [1]}, {"state": "output-available", "output": [1]}),
    ],
)
def test_an_answer_goes_on_with_the_assistants_message(fields, part):
    message = {"type": "hitl_decision", "decisions": [{"call_id": "c1", **fields}]}
    turn = Turn("S", "T", "L", message, questions=[QUESTION])
    user, asked = AiSdk().request(turn, [PastTurn("Pay.", "")], AgentSettings()).body["messages"]
    assert user["role"] == "user"
    call = {"type": "dynamic-tool", "toolName": "pay", "toolCallId": "c1", "input": {"euros": 5}}
    assert asked == {"id": "T", "role": "assistant", "parts": [{**call, **part}]}


def test_another_kind_of_message_is_sent_as_its_json_and_its_members_beside():
    message = {"type": "feedback", "stars": 5, "id": "x", "messages": [], "trigger": "x"}
    body = AiSdk().request(Turn("S", "T", "L", message), (), AgentSettings()).body
    assert (body["stars"], body["id"], body["trigger"]) == (5, "S", "submit-message")
    ((part,),) = (said["parts"] for said in body["messages"])
    assert json.loads(part["text"]) == message
    assert message["id"] == "x"


def test_the_internal_key_is_not_for_the_agent():
    assert not AiSdk.is_own
    assert not AiSdk.keeps_history


def test_a_call_that_is_asked_about_again_and_again_is_sent_whole_once():
    reader = vectors.reader(AiSdk())
    call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "f", "input": {"text": "x" * 10_000}}
    questions = [{"type": "tool-approval-request", "toolCallId": "c", "approvalId": str(n)} for n in range(9)]
    frames = [frame for fields in (call, *questions) for frame in reader.frames([Event(json.dumps(fields), "", "")])]
    assert len(frames) == 10
    assert sum(len(frame.body) for frame in frames) < 30_000
