"""PROTOCOL's "Agents that speak other protocols": ``responses``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.agent.protocols.responses import Responses
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors

PROTOCOL = Responses()
CREATED = '{"type":"response.created","response":{"id":"resp_1=/."}}'


@vectors.every("responses_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(PROTOCOL, vector)


@vectors.every("responses_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(PROTOCOL, vector)


def request(message=None, history=(), **settings):
    turn = Turn("S", "T", "L", message or {"type": "user_message", "content": "Hi"})
    return PROTOCOL.request(turn, history, AgentSettings(**settings))


def test_the_request_holds_the_last_turns_as_messages():
    asked = request(history=[PastTurn("One", "1"), PastTurn("Two", "")], model="m", system_prompt="Be brief.")
    assert (asked.method, asked.path) == ("POST", "/v1/responses")
    assert asked.body == {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "Two"},
            {"role": "user", "content": "Hi"},
        ],
        "stream": True,
        "background": True,
        "store": True,
    }
    assert not PROTOCOL.keeps_history
    assert not PROTOCOL.is_own


def test_the_shortest_request():
    asked = request(path="/openai/v1/responses")
    assert asked.path == "/openai/v1/responses"
    assert asked.body == {
        "input": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "background": True,
        "store": True,
    }


def test_another_kind_of_message_is_sent_as_its_json():
    message = {"type": "tool_result", "content": "x", "call_id": "c"}
    assert json.loads(request(message).body["input"][0]["content"]) == message


def test_stop_names_the_response():
    asked = request(path="/v2/responses")
    reader = vectors.reader(PROTOCOL)
    assert reader.stop_request(asked) is None
    reader.frames([Event(CREATED, "response.created", "")])
    stop = reader.stop_request(asked)
    assert (stop.method, stop.path, stop.body) == ("POST", "/v2/responses/resp_1%3D%2F./cancel", {})


@pytest.mark.parametrize("response_id", ["..", "\ud800", "r" * 100_000])
def test_a_response_that_no_path_can_name_is_not_cancelled(response_id):
    reader = vectors.reader(PROTOCOL)
    created = {"type": "response.created", "response": {"id": response_id}}
    reader.frames([Event(json.dumps(created), "response.created", "")])
    assert reader.stop_request(request()) is None


def test_a_call_ends_once_however_often_its_arguments_do():
    reader = vectors.reader(PROTOCOL)
    item = {"type": "function_call", "name": "f"}  # without an id
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    done = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"}
    frames = [frame for fields in (added, done, done) for frame in reader.frames([Event(json.dumps(fields), "", "")])]
    assert len(frames) == 1


items = any_answer.objects(
    type=st.sampled_from(["function_call", "mcp_call", "mcp_approval_request", "function_call_output", "message"]),
    call_id=st.sampled_from(["c1", "c2"]),
    name=st.just("f"),
    arguments=st.sampled_from(["", "{}", '{"a"']),
    error=st.none() | st.text(),
)
responses = any_answer.objects(id=st.text(), output=st.lists(items, max_size=2), usage=st.none(), error=st.text())
events = any_answer.objects(
    type=st.sampled_from(
        [
            "response.created",
            "response.completed",
            "response.incomplete",
            "response.failed",
            "response.output_text.delta",
            "response.reasoning_text.delta",
            "response.output_item.added",
            "response.output_item.done",
            "response.function_call_arguments.done",
            "error",
        ]
    ),
    delta=st.text(),
    item=items,
    output_index=st.integers(0, 2),
    response=responses,
)


@given(any_answer.answers(events))
def test_whatever_the_server_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(PROTOCOL, events)


@given(st.lists(events.map(json.dumps)), st.data())
def test_no_cut_changes_the_frames(datas, draw):
    any_answer.check_no_cut_changes_the_frames(PROTOCOL, datas, draw)


@pytest.mark.parametrize("depth", [900, 990, 1_005, 2_000, 30_000])
def test_no_depth_of_nesting_raises(depth):
    nested = "[" * depth + "]" * depth
    for event in (
        '{"type":"response.output_item.done","item":{"type":"mcp_call","id":"c","output":%s}}',
        '{"type":"response.output_item.done","item":{"type":"custom_tool_call","id":"c","input":%s}}',
        '{"type":"response.failed","response":{"error":%s}}',
    ):
        vectors.reader(PROTOCOL).frames([Event(event % nested, "", "")])


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(PROTOCOL, redact=lambda words: words.replace("secret", "…"))
    assert vectors.brief(reader.frames([Event('{"type":"error","message":"a secret"}', "", "")])) == [
        vectors.error("a …")
    ]
