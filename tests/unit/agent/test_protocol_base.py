"""The parts that every protocol's reader shares."""

import json

import pytest

from relay.agent import protocols
from relay.agent.protocols.any_json import json_value
from relay.agent.protocols.base import (
    MAX_CALLS,
    MAX_ID_CHARACTERS,
    AnswerReader,
    path_segment,
)
from relay.exceptions import UpstreamProtocol
from relay.protocol.event_stream import Event
from tests.unit.agent import vectors
from tests.unit.agent.vectors import brief, error


class Reader(AnswerReader):
    """Passes everything on."""

    def _read(self, event, made):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"type": "status", "x": [1]}, [{"type": "status", "x": [1]}]),
        ({"type": "finish", "is_final": True, "token": ""}, [{"type": "finish", "token": ""}]),
        ({"type": "", "turn_id": "X", "offset": 7}, [{"type": ""}]),
        ({"type": "error", "message": "no"}, [error("no")]),
    ],
)
def test_an_object_with_a_type_of_its_own_passes_whole(value, expected):
    reader, made = Reader("T", max_turn_bytes=1_000, redact=str), []
    reader._pass_on(value, made)
    assert brief(made) == expected


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ({"type": "assistant_message", "token": "a", "is_final": True}, "reserved"),
        ({"type": "ping"}, "reserved"),
        ({"type": 5}, "malformed"),
        ({"token": "a"}, "malformed"),
        ([{"type": "a"}], "malformed"),
        ("type", "malformed"),
        (None, "malformed"),
    ],
)
def test_what_could_be_taken_for_the_gateways_own_is_skipped(value, cause):
    reader, made = Reader("T", max_turn_bytes=1_000, redact=str), []
    reader._pass_on(value, made)
    assert [frame["type"] for frame in brief(made)] == ["notice"]
    assert reader.skipped[cause] == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [('{"a":NaN}', {"a": None}), ("null", None), ("[DONE]", "[DONE]"), ("[" * 10_000, "[" * 10_000)],
)
def test_data_is_json_or_a_text(data, expected):
    assert json_value(data) == expected


@pytest.mark.parametrize(
    ("agent_id", "segment"),
    [
        ("run-1", "run-1"),
        ("../../x?y", "..%2F..%2Fx%3Fy"),
        ("a\r\nX: y", "a%0D%0AX%3A%20y"),
        ("i" * MAX_ID_CHARACTERS, "i" * MAX_ID_CHARACTERS),
        ("i" * (MAX_ID_CHARACTERS + 1), ""),
        ("..", ""),
        (".", ""),
        ("\ud800", ""),
    ],
)
def test_an_id_in_a_path_is_one_segment_or_none(agent_id, segment):
    assert path_segment(agent_id) == segment


def openai_chunk(number):
    call = {"index": number, "id": str(number), "function": {"name": "f"}}
    return Event(json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}), "", "")


def agui_start(number):
    return Event(json.dumps({"type": "TOOL_CALL_START", "toolCallId": str(number), "toolCallName": "f"}), "", "")


def langgraph_chunk(number):
    piece = {"type": "AIMessageChunk", "content": "", "tool_call_chunks": [{"index": number, "id": str(number)}]}
    return Event(json.dumps([piece, {}]), "messages", "")


@pytest.mark.parametrize(
    ("protocol", "call"), [("openai", openai_chunk), ("agui", agui_start), ("langgraph", langgraph_chunk)]
)
def test_more_tool_calls_than_a_model_makes_are_refused(protocol, call):
    reader = vectors.reader(protocols.load(protocol))
    assert reader.frames([call(number) for number in range(MAX_CALLS)]) == []
    with pytest.raises(UpstreamProtocol, match="too many tool calls"):
        reader.frames([call(MAX_CALLS)])
