"""PROTOCOL's "Agents that speak other protocols": ``langgraph``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.agent.protocols.langgraph import LangGraph, thread_id
from relay.exceptions import UpstreamEof
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors

PROTOCOL = LangGraph()
THREAD = "8de2cc20-d9e4-5c88-b823-086b5ba02f3b"  # of the session S
TEXT = '[{"content":"a","type":"AIMessageChunk","id":"m1"},{}]'


@vectors.every("langgraph_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(PROTOCOL, vector)


@vectors.every("langgraph_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(PROTOCOL, vector)


def request(message=None, history=(), **settings):
    turn = Turn("S", "T", "L", message or {"type": "user_message", "content": "Hi"})
    return PROTOCOL.request(turn, history, AgentSettings(**settings))


def test_the_request_is_a_run_on_the_sessions_thread():
    asked = request(history=[PastTurn("One", "1")], system_prompt="Be brief.")
    assert (asked.method, asked.path) == ("POST", f"/threads/{THREAD}/runs/stream")
    assert asked.body == {
        "assistant_id": "agent",
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "stream_mode": ["messages-tuple", "custom", "updates"],
        "stream_resumable": True,
        "on_disconnect": "continue",
        "if_not_exists": "create",
    }
    assert PROTOCOL.keeps_history
    assert not PROTOCOL.is_own


def test_settings_name_the_assistant_and_the_path():
    asked = request(model="support", path="/lg/threads/{thread_id}/runs/stream")
    assert asked.body["assistant_id"] == "support"
    assert asked.path == f"/lg/threads/{THREAD}/runs/stream"


def test_a_sessions_thread_stays_the_same():
    """It is in the server's store: another name would be another conversation."""
    assert thread_id("S") == THREAD
    assert thread_id("s") != THREAD


@pytest.mark.parametrize(
    ("members", "result"),
    [
        ({"result": {"approved": True}}, {"approved": True}),
        ({"content": "Paris"}, "Paris"),
        ({"error": "denied"}, "denied"),
        ({}, None),
    ],
)
def test_a_tool_result_answers_the_interrupt(members, result):
    body = request({"type": "tool_result", "call_id": "i1", **members}).body
    assert body["command"] == {"resume": {"i1": result}}
    assert "input" not in body


APPROVE, REJECT = {"decision": "approve"}, {"decision": "reject", "reason": "no"}
EDIT = {"decision": "edit", "arguments": {"euros": 4}}
ACTIONS = {"action_requests": [{"name": "pay", "args": {"euros": 5}}, {"name": "tell", "args": {}}]}


@pytest.mark.parametrize(
    ("fields", "asked", "value"),
    [
        (APPROVE, {"question": "?"}, True),
        (REJECT, {"question": "?"}, False),
        (EDIT, {"question": "?"}, {"euros": 4}),
        (APPROVE, ACTIONS, {"decisions": [{"type": "approve"}] * 2}),
        (REJECT, ACTIONS, {"decisions": [{"type": "reject", "message": "no"}] * 2}),
        (
            EDIT,
            {"action_requests": [ACTIONS["action_requests"][0]]},
            {"decisions": [{"type": "edit", "edited_action": {"name": "pay", "args": {"euros": 4}}}]},
        ),
    ],
)
def test_a_decision_resumes_with_what_the_interrupt_takes(fields, asked, value):
    message = {"type": "hitl_decision", "call_id": "i1", **fields}
    question = {"type": "tool_call", "call_id": "i1", "tool_name": "interrupt", "arguments": asked}
    turn = Turn("S", "T", "L", message, questions=[question])
    assert PROTOCOL.request(turn, (), AgentSettings()).body["command"] == {"resume": {"i1": value}}


def test_several_interrupts_are_answered_in_one_run():
    entries = [{"call_id": "i1", "decision": "approve"}, {"call_id": "i2", "result": "Paris"}]
    body = request({"type": "hitl_decision", "decisions": entries}).body
    assert body["command"] == {"resume": {"i1": True, "i2": "Paris"}}


@pytest.mark.parametrize("message", [{"type": "tool_result", "call_id": 5}, {"type": "vote", "call_id": "c"}])
def test_another_kind_of_message_is_sent_as_its_json(message):
    (sent,) = request(message).body["input"]["messages"]
    assert json.loads(sent["content"]) == message


def test_stop_cancels_the_run_that_the_head_names():
    asked, reader = request(path="/lg/threads/{thread_id}/runs/stream"), vectors.reader(PROTOCOL)
    assert reader.stop_request(asked) is None
    reader.opened({"content-location": f"/threads/{THREAD}/runs/r1"})
    reader.frames([Event('{"run_id":"r2"}', "metadata", "")])
    stop = reader.stop_request(asked)
    assert (stop.method, stop.path, stop.body) == ("POST", f"/lg/threads/{THREAD}/runs/r1/cancel", None)


def test_stop_cancels_the_run_that_the_first_event_names():
    reader = vectors.reader(PROTOCOL)
    reader.opened({})
    reader.frames([Event('{"run_id":"../r2"}', "metadata", "")])
    assert reader.stop_request(request()).path == f"/threads/{THREAD}/runs/..%2Fr2/cancel"


@pytest.mark.parametrize("run_id", ["..", "\ud800", "r" * 100_000])
def test_a_run_that_no_path_can_name_is_not_cancelled(run_id):
    reader = vectors.reader(PROTOCOL)
    reader.opened({})
    reader.frames([Event(json.dumps({"run_id": run_id}), "metadata", "")])
    assert reader.stop_request(request()) is None


@pytest.mark.parametrize(
    ("streaming", "task", "is_new"),
    [
        (["b"], "b", False),
        (["b|c"], "b", False),
        (["a", "b!", "b|c|d", "c"], "b", False),
        (["b"], "b|c", True),
        (["a", "b!", "bc", "c"], "b", True),
        ([], "", True),
        ([""], "", False),
    ],
)
def test_a_whole_message_of_a_task_that_streamed_says_nothing_new(streaming, task, is_new):
    reader = vectors.reader(PROTOCOL)
    for name in [*streaming, *reversed(streaming)]:
        piece = [{"type": "AIMessageChunk", "content": ""}, {"langgraph_checkpoint_ns": name}]
        assert reader.frames([Event(json.dumps(piece), "messages", "")]) == []
    whole = [{"type": "ai", "content": "Hi"}, {"langgraph_checkpoint_ns": task}]
    assert len(reader.frames([Event(json.dumps(whole), "messages", "")])) == is_new


def test_a_body_ends_only_behind_an_update():
    """A run that an operator cancels ends its body like any other."""
    for last in (("messages", TEXT), ("custom", "1"), ("messages", '[{"type":"tool","tool_call_id":"c"},{}]')):
        reader = vectors.reader(PROTOCOL)
        for name, data in (("messages", TEXT), ("updates", "{}"), last):
            reader.frames([Event(data, name, "")])
        with pytest.raises(UpstreamEof):
            reader.end_of_body(is_within_event=False)


calls = any_answer.objects(
    index=st.none() | st.integers(0, 1), id=st.sampled_from(["", "c1"]), name=st.just("f"), args=st.just("{}")
)
blocks = any_answer.objects(
    type=st.sampled_from(["text", "thinking", "reasoning", "refusal"]), text=st.text(), thinking=st.text()
)
messages = any_answer.objects(
    type=st.sampled_from(["AIMessageChunk", "AIMessageChunk", "ai", "tool", "human"]),
    content=st.text() | st.lists(blocks, max_size=2),
    id=st.sampled_from(["m1", "m2"]),
    tool_calls=st.lists(calls, max_size=2),
    tool_call_chunks=st.lists(calls, max_size=2),
    usage_metadata=any_answer.objects(input_tokens=st.integers(), input_token_details=st.none()),
    additional_kwargs=any_answer.objects(reasoning_content=st.text()),
    chunk_position=st.sampled_from([None, "last"]),
    status=st.sampled_from(["success", "error"]),
    tool_call_id=st.text(),
)
pairs = st.tuples(messages, any_answer.objects(langgraph_checkpoint_ns=st.sampled_from(["a", "a|b"])))
updates = any_answer.objects(__interrupt__=st.lists(any_answer.objects(id=st.text(), value=st.text())))
names = st.sampled_from(["", "messages", "messages", "updates", "custom", "error", "end", "metadata", "values"])


@given(st.lists(st.builds(Event, st.one_of(pairs, updates, any_answer.any_json).map(json.dumps), names, st.just(""))))
def test_whatever_the_server_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(PROTOCOL, events)


@given(st.lists(st.tuples(names, st.one_of(pairs, updates).map(json.dumps))), st.data())
def test_no_cut_changes_the_frames(said, draw):
    body = "".join(f"event: {name}\r\ndata: {data}\r\n\r\n" for name, data in said).encode()
    any_answer.check_no_cut_of_a_body_changes_the_frames(PROTOCOL, body, draw)


@given(any_answer.answers(any_answer.any_json))
def test_nor_when_it_says_anything_at_all(events):
    any_answer.check_one_end_at_most(PROTOCOL, events)


@pytest.mark.parametrize("depth", [900, 990, 1_005, 2_000, 30_000])
def test_no_depth_of_nesting_raises(depth):
    nested = "[" * depth + "]" * depth
    for name, event in (
        ("custom", "%s"),
        ("error", '{"message":%s}'),
        ("updates", '{"__interrupt__":[{"value":%s}]}'),
        ("messages", '[{"type":"tool","content":%s},{}]'),
        ("messages", '[{"type":"ai","content":%s,"tool_calls":[{"args":%s}]},{}]'),
    ):
        vectors.reader(PROTOCOL).frames([Event(event.replace("%s", nested), name, "")])


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(PROTOCOL, redact=lambda words: words.replace("secret", "…"))
    frames = reader.frames([Event('{"error":"E","message":"a secret"}', "error", "")])
    assert vectors.brief(frames) == [vectors.error("a …")]
