"""OpenAI's chat completions: requests and chunks."""

import json

import pytest
from hypothesis import given

from relay.adapters.base import Limits
from relay.adapters.openai import DONE, OpenAITranslator, read_request
from relay.exceptions import ClientMessageTooLarge, ParameterInvalid, UpstreamEof
from relay.protocol import frames
from tests.unit.adapters.turns import CALL, TURN_ID, placed, snapshot, translated, turn, turns

LIMITS = Limits(frozenset(), 1_000)
HEAD = {"id": "chatcmpl-T", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def translator(**options):
    return OpenAITranslator(TURN_ID, created=7, model="m", **options)


def chunks(*parts, end="stop", **options):
    return translated(translator(**options), turn(*parts, end=end))


def chunk(delta, finish_reason=None):
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def user(content):
    return {"role": "user", "content": content}


def test_only_the_last_message_is_asked():
    body = {"model": "m", "messages": [user("x" * 5_000), {"role": "assistant", "content": "y"}, user("Hello")]}
    found = read_request(body, "id-1", LIMITS)
    assert found.message == {"type": "user_message", "content": "Hello"}
    assert found.client_message_id == "id-1"


def test_parts_that_are_no_text_go_beside_the_words():
    picture = {"type": "image_url", "image_url": {"url": "u"}}
    found = read_request({"messages": [user([{"type": "text", "text": "See"}, picture])]}, None, LIMITS)
    assert found.message == {"type": "user_message", "content": "See", "parts": [picture]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "messages"),
        ({}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [user("x"), {"role": "tool", "content": "y"}]}, "last message"),
        ({"messages": ["x"]}, "messages"),
        ({"messages": [user("")]}, "empty"),
        ({"messages": [user(None)]}, "empty"),
        ({"messages": [user([{"type": "text", "text": ""}])]}, "empty"),
    ],
)
def test_a_body_without_a_users_last_message_is_refused_in_words(body, words):
    with pytest.raises(ParameterInvalid, match=words):
        read_request(body, None, LIMITS)


def test_words_above_the_limit_are_refused():
    with pytest.raises(ClientMessageTooLarge):
        read_request({"messages": [user("x" * 1_001)]}, None, LIMITS)


def test_an_answer_is_a_chunk_a_token():
    assert chunks("He", "", "llo") == [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "He"}),
        chunk({"content": "llo"}),
        chunk({}, "stop"),
        DONE,
    ]


def test_reasoning_is_told_and_tool_calls_are_not():
    assert chunks({"type": "reasoning", "token": "hm"}, CALL)[1:-2] == [chunk({"reasoning_content": "hm"})]


@pytest.mark.parametrize(("reason", "written"), [("length", "length"), ("cancelled", "stop"), ("tool_calls", "stop")])
def test_finish_reasons_are_those_that_the_client_knows(reason, written):
    assert chunks(end=reason)[-2] == chunk({}, written)


def test_usage_is_summed_and_told_where_it_is_asked_for():
    usage = {"type": "usage", "input_tokens": 3, "output_tokens": 4}
    odd = {"type": "usage", "input_tokens": True, "output_tokens": None}
    assert chunks(usage, usage, odd, has_usage=True)[-2] == {
        **HEAD,
        "choices": [],
        "usage": {"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14},
    }


def test_an_error_is_in_openais_shape_and_nothing_follows_it():
    assert chunks("a", end=UpstreamEof())[-1] == {
        "error": {"message": str(UpstreamEof()), "type": "server_error", "param": None, "code": "upstream_eof"}
    }


@given(turns)
def test_the_text_is_whole_and_a_success_ends_in_done(made):
    found = translated(translator(), made)
    texts = [piece["choices"][0]["delta"].get("content") or "" for piece in found if "choices" in piece]
    assert "".join(texts) == "".join(json.loads(f'"{frame.token_text}"') for frame in made)
    assert (found[-1] == DONE) == ("error" not in found[-1])


def test_notice_of_the_gateway_is_no_part_of_the_answer():
    assert translator().events(placed([frames.notice(TURN_ID, "code", "words")])[0]) == []


def test_turn_that_has_no_text_yet_only_starts():
    assert len(translator().snapshot(snapshot(""))) == 1
