"""PROTOCOL's "Agents that speak other protocols", the rows of ``openai``."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.agent.protocols.base import (
    AgentSettings,
    PastTurn,
)
from relay.agent.protocols.openai import OpenAI
from relay.exceptions import UpstreamError
from relay.layers.values import Turn
from relay.protocol.event_stream import Event
from tests.unit.agent import any_answer, vectors
from tests.unit.agent.vectors import TURN, brief, error


@vectors.every("openai_events.json")
def test_an_answer_and_its_frames_however_it_is_cut(vector):
    vectors.check_frames_however_cut(OpenAI(), vector)


@vectors.every("openai_events.json")
def test_an_answer_cut_before_its_end_is_no_success(vector):
    vectors.check_no_cut_is_a_success(OpenAI(), vector)


reasons = st.sampled_from(["stop", "tool_calls", "error", "", None])
functions = any_answer.objects(name=st.just("f"), arguments=st.sampled_from(["", "{}", '{"a"', ":1}"]))
pieces = any_answer.objects(index=st.integers(0, 2), id=st.sampled_from(["", "c1", "c2"]), function=functions)
deltas = any_answer.objects(content=st.text(), reasoning=st.text(), refusal=st.text(), tool_calls=st.lists(pieces))
choices = any_answer.objects(delta=deltas, index=st.integers(0, 1), finish_reason=reasons, error=st.none())
usages = any_answer.objects(
    prompt_tokens=st.integers(), completion_tokens=st.integers(), prompt_tokens_details=st.none()
)
chunks = any_answer.objects(choices=st.lists(choices, max_size=2), usage=st.none() | usages, error=st.none())


@given(any_answer.answers(chunks, any_answer.objects(type=st.just("error"), detail=st.text(), object=st.just("error"))))
def test_whatever_the_server_says_at_most_one_end_comes_and_it_comes_last(events):
    any_answer.check_one_end_at_most(OpenAI(), events)


@given(st.lists(chunks.map(json.dumps)), st.data())
def test_no_cut_changes_the_frames(datas, draw):
    any_answer.check_no_cut_changes_the_frames(OpenAI(), datas, draw)


def test_words_of_an_error_are_redacted():
    reader = vectors.reader(OpenAI(), redact=lambda words: words.replace("secret", "…"))
    assert brief(reader.frames([Event('{"error":"a secret"}', "", "")])) == [error("a …")]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"error":{"message":"No credits left","code":402}}', "No credits left"),
        (200, b'{"error":{"code":402}}', str(UpstreamError())),
        (200, b'{"choices":[{"message":{"content":"Hi"}}]}', None),
        (200, b"<html>", None),
        (400, b'{"error":{"message":"no"}}', None),
    ],
)
def test_an_error_before_the_stream_has_the_servers_words_where_the_status_does_not_tell(status, body, words):
    refusal = vectors.reader(OpenAI()).refused(status, body)
    assert refusal is None if words is None else str(refusal) == words


def test_what_comes_after_the_end_is_dropped_and_counted():
    reader = vectors.reader(OpenAI())
    assert len(reader.frames([Event("[DONE]", "", ""), Event('{"choices":[{"delta":{"content":"a"}}]}', "", "")])) == 1
    assert reader.late == 1


def test_a_request_has_the_words_and_asks_for_usage():
    request = OpenAI().request(TURN, (), AgentSettings())
    assert request.path == "/v1/chat/completions"
    assert request.method == "POST"
    assert request.body == {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_request_has_model_system_prompt_and_history():
    history = [PastTurn("Capital of France?", "Paris."), PastTurn("And of Spain?", "")]
    settings = AgentSettings(path="/v2/chat", model="m", system_prompt="Be brief.")
    request = OpenAI().request(TURN, history, settings)
    assert request.path == "/v2/chat"
    assert request.body["model"] == "m"
    assert request.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": "And of Spain?"},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    "message", [{"type": "tool_result", "call_id": "c", "result": [1]}, {"type": "other", "content": "Hi"}]
)
def test_another_kind_of_message_is_sent_as_its_json(message):
    turn = Turn(session_id="S", turn_id="T", lease_id="L", message=message)
    (said,) = OpenAI().request(turn, (), AgentSettings()).body["messages"]
    assert said["role"] == "user"
    assert json.loads(said["content"]) == message


def test_the_internal_key_is_not_for_a_model_server():
    assert not OpenAI.is_own
    assert not OpenAI.keeps_history
